# What serves: the endpoint of the current release, the three functions, the workflow that joins them, and who watches.

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket}"
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.name

  release = module.inference_endpoint.serving

  functions = {
    classify_image = {
      description     = "Asks the endpoint how likely each class is"
      environment     = { ENDPOINT_NAME = module.inference_endpoint.name, NUMBER_OF_CLASSES = length(local.release.classes) }
      memory_mb       = 256
      policies        = { endpoint = data.aws_iam_policy_document.classify_image.json }
      timeout_seconds = 30
      # Errors of a down endpoint come with retries: a few mean one image.
      errors_threshold = 5
    }
    filter_confidence = {
      description     = "Lets through what reaches the threshold of the release"
      environment     = { CLASSES = jsonencode(local.release.classes), THRESHOLD = local.release.threshold }
      memory_mb       = 256
      policies        = {}
      timeout_seconds = 10
      # Images below the threshold are not counted.
      errors_threshold = 3
    }
    serialize_image = {
      description = "Fetches an image, bounds it and makes it a small PNG"
      environment = {
        IMAGE_SIDE       = var.image_limits.side
        MAX_IMAGE_BYTES  = var.image_limits.max_bytes
        MAX_IMAGE_PIXELS = var.image_limits.max_pixels
      }
      memory_mb       = 1024 # decoding a large photo is work for a whole processor
      policies        = { images = data.aws_iam_policy_document.serialize_image.json }
      timeout_seconds = 30
      # Uploads that are no images raise errors too.
      errors_threshold = 10
    }
  }
}

module "inference_endpoint" {
  source = "../inference_endpoint"

  alarm_thresholds         = var.endpoint.alarm_thresholds
  bucket                   = var.bucket
  capacity                 = var.endpoint.capacity
  current_release          = var.current_release
  data_capture_percentage  = var.endpoint.data_capture_percentage
  deployment               = var.endpoint.deployment
  instance_type            = var.endpoint.instance_type
  kms_key_arn              = var.kms_key_arn
  log_retention_days       = var.log_retention_days
  minimum_accuracy         = var.minimum_accuracy
  name                     = var.name
  network                  = var.network
  online                   = var.endpoint.online
  permissions_boundary_arn = var.permissions_boundary_arn
  releases                 = var.releases
  serverless               = var.endpoint.serverless
}

module "lambda_function" {
  source   = "../lambda_function"
  for_each = local.functions

  architecture             = var.lambda_architecture
  description              = each.value.description
  environment              = merge(each.value.environment, { METRIC_NAMESPACE = var.name })
  kms_key_arn              = var.kms_key_arn
  log_retention_days       = var.log_retention_days
  memory_mb                = each.value.memory_mb
  name                     = "${var.name}-${replace(each.key, "_", "-")}"
  network                  = var.network
  package                  = "${var.lambda_packages}/${each.key}.zip"
  permissions_boundary_arn = var.permissions_boundary_arn
  policies                 = each.value.policies
  timeout_seconds          = each.value.timeout_seconds
}

module "classification_workflow" {
  source = "../classification_workflow"

  bucket                   = var.bucket
  classes                  = local.release.classes
  functions                = module.lambda_function
  kms_key_arn              = var.kms_key_arn
  log_retention_days       = var.log_retention_days
  name                     = var.name
  permissions_boundary_arn = var.permissions_boundary_arn
  release                  = local.release.id
  routing_table            = var.routing_table
  threshold                = local.release.threshold
  topic_arn                = module.monitoring.topic_arn
}

# The workflow publishes to the topic, and the topic's policy names the workflow: no circle, for the topic itself needs
# neither. A depends_on between these two modules would make one.
module "monitoring" {
  source = "../monitoring"

  budget_tag           = var.budget_tag
  budget_usd           = var.budget_usd
  confidence_function  = "filter_confidence"
  emails               = var.emails
  endpoint             = { name = module.inference_endpoint.name, variant = module.inference_endpoint.variant }
  endpoint_alarm_names = module.inference_endpoint.alarm_names
  expected_traffic     = var.endpoint.online == false ? null : var.expected_traffic # off on purpose: silence is meant
  functions = {
    for key, function in module.lambda_function : key => {
      name             = function.name
      errors_threshold = local.functions[key].errors_threshold
      timeout_seconds  = function.timeout_seconds
    }
  }
  kms_key_arn         = var.kms_key_arn
  name                = var.name
  publisher_role_arn  = module.classification_workflow.role_arn
  publisher_rule_arns = module.classification_workflow.failure_rule_arns
  state_machine_arn   = module.classification_workflow.state_machine_arn
  thresholds          = var.alarm_thresholds
  undelivered_queue   = module.classification_workflow.undelivered_queue
}
