# What serves: the endpoint of the current release, the functions, the workflow that joins them; and who watches: the
# alarms, the check whether the photos have changed, and the workflow that trains a candidate.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket}"
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.name

  release = merge(var.releases[module.inference_endpoint.serving.id], { id = module.inference_endpoint.serving.id })

  # Of the embedded AWS there is no console that a link could lead to.
  console_region = var.console ? local.region : ""

  # A serverless endpoint captures nothing that could be checked.
  drift_function = var.drift_check != null && var.endpoint.serverless == null ? "check_drift" : null

  # Spelled out, for the check may start the machine, and the machine calls a function beside the check: a circle.
  retraining_arn = "arn:${local.partition}:states:${local.region}:${local.account_id}:stateMachine:${var.name}-retrain"

  functions = merge(local.classifying_functions, local.watching_functions)

  # What images wait for.
  classifying_functions = {
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

  # What is called now and then: one error is one check, or one candidate, that people do not hear of.
  watching_functions = merge(
    {
      compare_candidate = {
        description      = "Measures a candidate and the serving release on the same test images"
        environment      = { CANDIDATES_PREFIX = "candidates/", CONSOLE_REGION = local.console_region }
        memory_mb        = 512
        policies         = { comparison = data.aws_iam_policy_document.compare_candidate.json }
        timeout_seconds  = 120
        errors_threshold = 1
      }
    },
    {
      for key in local.drift_function[*] : key => {
        description = "Tells whether the model sees or says something else than on validation"
        environment = {
          BUCKET                       = var.bucket
          CAPTURE_PREFIX               = local.capture_prefix
          CONSOLE_REGION               = local.console_region
          REPORTS_PREFIX               = "reports/"
          RETRAINING_STATE_MACHINE_ARN = var.retraining.on_drift ? "${local.retraining_arn}:live" : ""
          TOPIC_ARN                    = module.monitoring.topic_arn
        }
        memory_mb        = 1024 # it decodes a day's images, two thousand at most
        policies         = { check = data.aws_iam_policy_document.check_drift.json }
        timeout_seconds  = 300
        errors_threshold = 1
      }
    },
  )

  capture_prefix = "data_capture/${module.inference_endpoint.name}/"
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
  functions                = { for key in keys(local.classifying_functions) : key => module.lambda_function[key] }
  kms_key_arn              = var.kms_key_arn
  log_retention_days       = var.log_retention_days
  name                     = var.name
  permissions_boundary_arn = var.permissions_boundary_arn
  release                  = local.release.id
  routing_table            = var.routing_table
  threshold                = local.release.threshold
  topic_arn                = module.monitoring.topic_arn
  undelivered_rule_arns    = module.retraining_workflow.failure_rule_arns
}

module "retraining_workflow" {
  source = "../retraining_workflow"

  bucket                   = var.bucket
  classes                  = local.release.classes
  compare_candidate        = module.lambda_function["compare_candidate"]
  kms_key_arn              = var.kms_key_arn
  log_retention_days       = var.log_retention_days
  name                     = var.name
  network                  = var.network
  permissions_boundary_arn = var.permissions_boundary_arn
  release                  = local.release
  schedule                 = var.retraining.schedule
  timeouts                 = { training_seconds = var.retraining.train_hours * 3600 }
  topic_arn                = module.monitoring.topic_arn
  training_role_arn        = var.training_role_arn
  undelivered_queue_arn    = module.classification_workflow.undelivered_queue.arn
}

module "drift_schedule" {
  source = "../schedule"
  count  = local.drift_function == null ? 0 : 1

  description = "Asks whether the photos of the last ${var.drift_check.window_hours} hours are like those of validation"
  expression  = var.drift_check.schedule
  input = {
    baseline  = local.release.baseline
    classes   = local.release.classes
    hours     = var.drift_check.window_hours
    release   = local.release.id
    threshold = local.release.threshold
  }
  name                     = module.lambda_function["check_drift"].name
  permissions_boundary_arn = var.permissions_boundary_arn
  policy                   = data.aws_iam_policy_document.drift_schedule.json
  target_arn               = module.lambda_function["check_drift"].alias_arn
  undelivered_queue_arn    = module.classification_workflow.undelivered_queue.arn
}

# Workflows and functions publish to the topic, and the topic's policy names them: no circle, for the topic itself needs
# none of them. A depends_on between these modules would make one. The queue of undelivered events and the rules of the
# retraining stand in the same way to each other.
module "monitoring" {
  source = "../monitoring"

  budget_tag           = var.budget_tag
  budget_usd           = var.budget_usd
  confidence_function  = "filter_confidence"
  drift_function       = local.drift_function
  emails               = var.emails
  endpoint             = { name = module.inference_endpoint.name, variant = module.inference_endpoint.variant }
  endpoint_alarm_names = module.inference_endpoint.alarm_names
  expected_traffic     = var.endpoint.online == false ? null : var.expected_traffic # off on purpose: silence is meant
  functions = {
    for key, function in module.lambda_function : key => {
      name             = function.name
      errors_threshold = local.functions[key].errors_threshold
      serves_images    = contains(keys(local.classifying_functions), key)
      timeout_seconds  = function.timeout_seconds
    }
  }
  kms_key_arn = var.kms_key_arn
  name        = var.name
  publisher_role_arns = concat(
    [module.classification_workflow.role_arn, module.retraining_workflow.role_arn],
    [for key in local.drift_function[*] : module.lambda_function[key].role_arn],
  )
  publisher_rule_arns = concat(module.classification_workflow.failure_rule_arns, module.retraining_workflow.failure_rule_arns)
  state_machine_arn   = module.classification_workflow.state_machine_arn
  thresholds          = var.alarm_thresholds
  undelivered_queue   = module.classification_workflow.undelivered_queue.name
}
