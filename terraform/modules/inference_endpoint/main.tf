# Every retained release has its model and its endpoint configuration; the endpoint points at the current one. Nothing is
# deleted when the endpoint moves, so a blue/green update that SageMaker rolls back leaves the serving configuration in
# place, and the next plan shows the difference.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket}"
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.name

  # An update must keep the variant's name: guardrails and autoscaling hang on it.
  variant = "AllTraffic"

  is_serverless = var.serverless != null

  # SageMaker cannot convert an endpoint on instances into a serverless one. A name for each kind makes a change of kind a
  # replacement that the plan shows, and the old endpoint answers until callers have moved to the new one.
  # https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
  names         = { instances = var.name, serverless = "${var.name}-serverless" }
  endpoint_name = local.names[local.is_serverless ? "serverless" : "instances"]

  # Volumes of these instances are local disks with a key of their own; SageMaker refuses ours for them.
  has_local_disk = can(regex("^ml\\.(dl1|g5|g6|g6e|g7|g7e|p5|p5e|p5en|p6-b[0-9]+|trn1|trn1n|trn2|[a-z]+[0-9]+[a-z]*d[a-z]*)\\.", var.instance_type))
  is_graviton    = !local.is_serverless && can(regex("^ml\\.[a-z]+[0-9]+g[a-z]*\\.", var.instance_type))

  container_environments = {
    image-classification = {}
    pytorch = {
      SAGEMAKER_CONTAINER_LOG_LEVEL = "20"
      SAGEMAKER_PROGRAM             = "inference.py"
      SAGEMAKER_REGION              = local.region
      SAGEMAKER_SUBMIT_DIRECTORY    = "/opt/ml/model/code"
    }
  }

  containers = {
    for id, release in var.releases : id => {
      environment    = local.container_environments[release.algorithm]
      image          = release.inference_image
      model_data_url = release.model_data_url
    }
  }

  # A model and a configuration cannot be changed, and SageMaker looks at a configuration only when its name changes. The
  # digest makes a change of settings a new name, beside the old one.
  model_names = {
    for id, container in local.containers :
    id => "${var.name}-${id}-${substr(sha256(jsonencode([container, local.is_isolated, var.network])), 0, 6)}"
  }

  # A serverless endpoint refuses models with network isolation. For the others SageMaker fetches the artifact, and the
  # container itself needs nothing from outside.
  is_isolated = !local.is_serverless

  # Of both kinds, what the configuration is made of: the other kind's settings make no new name.
  configuration = local.is_serverless ? jsonencode(var.serverless) : jsonencode({
    capacity     = var.capacity.minimum
    capture      = local.data_capture_percentage
    instance     = var.instance_type
    kms_key_arn  = var.kms_key_arn
    capture_path = local.capture_path
  })

  capture_path            = "s3://${var.bucket}/data_capture"
  data_capture_percentage = coalesce(var.data_capture_percentage, 100)
}

# A warning in every plan and apply of a serverless endpoint.
check "serverless_goes_without" {
  assert {
    condition     = !local.is_serverless
    error_message = "The endpoint ${local.endpoint_name} is serverless: it goes without data capture (so `invoke monitor` has nothing to look at), canary and automatic rollback, network isolation and a network of your own, and the first request after a pause waits for a cold start."
  }
}

resource "aws_sagemaker_model" "release" {
  for_each = var.releases

  name                     = local.model_names[each.key]
  execution_role_arn       = aws_iam_role.model.arn
  enable_network_isolation = local.is_isolated

  primary_container {
    environment    = local.containers[each.key].environment
    image          = local.containers[each.key].image
    model_data_url = local.containers[each.key].model_data_url
  }

  dynamic "vpc_config" {
    for_each = var.network == null ? [] : [var.network]

    content {
      security_group_ids = vpc_config.value.security_group_ids
      subnets            = vpc_config.value.subnet_ids
    }
  }

  lifecycle {
    create_before_destroy = true # a new digest is a new name: the serving model stays until its successor serves
  }

  # SageMaker reads the artifact with this role when the model is made.
  depends_on = [aws_iam_role_policy.model, aws_iam_role_policy.network]
}

resource "aws_sagemaker_endpoint_configuration" "release" {
  for_each = var.releases

  name = join("-", [
    var.name,
    each.key,
    substr(sha256(jsonencode([local.configuration, local.model_names[each.key]])), 0, 6),
  ])
  kms_key_arn = local.is_serverless || local.has_local_disk ? null : var.kms_key_arn # of the instances' volumes

  # One variant and no weight: a fractional weight would replace the configuration at every plan.
  production_variants {
    variant_name           = local.variant
    model_name             = aws_sagemaker_model.release[each.key].name
    instance_type          = local.is_serverless ? null : var.instance_type
    initial_instance_count = local.is_serverless ? null : var.capacity.minimum # an update resets the scaled count to this

    dynamic "serverless_config" {
      for_each = local.is_serverless ? [var.serverless] : []

      content {
        max_concurrency   = serverless_config.value.max_concurrency
        memory_size_in_mb = serverless_config.value.memory_mb
      }
    }
  }

  dynamic "data_capture_config" {
    for_each = local.is_serverless ? [] : [local.data_capture_percentage]

    content {
      enable_capture              = true
      initial_sampling_percentage = data_capture_config.value
      destination_s3_uri          = local.capture_path
      kms_key_id                  = var.kms_key_arn

      capture_options {
        capture_mode = "Input"
      }

      capture_options {
        capture_mode = "Output"
      }
    }
  }

  lifecycle {
    create_before_destroy = true # as for the model
  }
}

resource "aws_sagemaker_endpoint" "service" {
  count = var.online ? 1 : 0

  name                 = local.endpoint_name
  endpoint_config_name = aws_sagemaker_endpoint_configuration.release[var.current_release].name

  # A canary is a share of the instances, and a rollback goes back to them: serverless has neither.
  dynamic "deployment_config" {
    for_each = local.is_serverless ? [] : [var.deployment]

    content {
      blue_green_update_policy {
        maximum_execution_timeout_in_seconds = max(600, var.deployment.bake_seconds + var.deployment.termination_wait_seconds + 1800)
        termination_wait_in_seconds          = var.deployment.termination_wait_seconds

        traffic_routing_configuration {
          type                     = var.deployment.strategy
          wait_interval_in_seconds = var.deployment.bake_seconds

          dynamic "canary_size" {
            for_each = var.deployment.strategy == "CANARY" ? [var.deployment.canary_percent] : []

            content {
              type  = "CAPACITY_PERCENT"
              value = canary_size.value
            }
          }
        }
      }

      # Adding or removing this block replaces the endpoint: it is there from the first day, always.
      auto_rollback_configuration {
        dynamic "alarms" {
          for_each = aws_cloudwatch_metric_alarm.guardrail

          content {
            alarm_name = alarms.value.alarm_name
          }
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.releases[var.current_release].accuracy >= var.minimum_accuracy
      error_message = "Release ${var.current_release} is right on ${format("%.1f", var.releases[var.current_release].accuracy * 100)} % of its test images; the service wants at least ${format("%.1f", var.minimum_accuracy * 100)} %. Train a better one (`invoke train`), or lower minimum_accuracy in review."
    }

    precondition {
      condition     = local.is_serverless || local.is_graviton == strcontains(var.releases[var.current_release].inference_image, "arm64")
      error_message = "${var.instance_type} is ${local.is_graviton ? "a Graviton (arm64)" : "an x86_64"} instance, and the image ${var.releases[var.current_release].inference_image} of release ${var.current_release} is for the other processor. Choose an instance_type that fits."
    }

    precondition {
      condition     = !local.is_serverless || !can(regex("arm64|-gpu-", var.releases[var.current_release].inference_image))
      error_message = "A serverless endpoint runs on x86_64 without a GPU, and the image ${var.releases[var.current_release].inference_image} of release ${var.current_release} does not. Train a release with a CPU image, or leave serverless out."
    }
  }

  # An endpoint that starts first makes its log group itself.
  depends_on = [aws_cloudwatch_log_group.endpoint]
}
