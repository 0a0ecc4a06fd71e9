mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/scones-test-model" }
  }
}

variables {
  bucket           = "scones-test-123456789012-data"
  current_release  = "20261121-101500-3f2a9c1"
  kms_key_arn      = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  minimum_accuracy = 0.9
  name             = "scones-test"
  releases = {
    "20261120-090000-1a2b3c4" = {
      accuracy        = 0.85
      algorithm       = "image-classification"
      classes         = ["bicycle", "motorcycle"]
      image_shape     = "3,32,32"
      inference_image = "813361260812.dkr.ecr.eu-central-1.amazonaws.com/image-classification:1"
      model_data_url  = "s3://scones-test-123456789012-data/models/first/output/model.tar.gz"
      threshold       = 0.8
    }
    "20261121-101500-3f2a9c1" = {
      accuracy        = 0.97
      algorithm       = "pytorch"
      classes         = ["bicycle", "motorcycle"]
      image_shape     = "3,32,32"
      inference_image = "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-inference:2.6-cpu-py312"
      model_data_url  = "s3://scones-test-123456789012-data/models/second/output/model.tar.gz"
      threshold       = 0.93
    }
  }
}

run "each_release_keeps_its_configuration_and_the_current_one_serves" {
  command = plan

  assert {
    condition     = length(aws_sagemaker_model.release) == 2 && length(aws_sagemaker_endpoint_configuration.release) == 2
    error_message = "Every retained release has a model and a configuration, or a rollback finds nothing to go back to."
  }

  assert {
    condition     = startswith(aws_sagemaker_endpoint.service[0].endpoint_config_name, "scones-test-20261121-101500-3f2a9c1-")
    error_message = "The endpoint must point at the current release."
  }

  assert {
    condition     = alltrue([for model in aws_sagemaker_model.release : length(model.name) <= 63])
    error_message = "SageMaker's names have 63 characters at most."
  }
}

run "only_our_program_gets_an_environment" {
  command = plan

  assert {
    condition     = aws_sagemaker_model.release["20261121-101500-3f2a9c1"].primary_container[0].environment["SAGEMAKER_PROGRAM"] == "inference.py"
    error_message = "The PyTorch container looks for our program."
  }

  assert {
    condition     = length(aws_sagemaker_model.release["20261120-090000-1a2b3c4"].primary_container[0].environment) == 0
    error_message = "The built-in algorithm takes no environment."
  }
}

run "updates_roll_back_on_alarms" {
  command = plan

  assert {
    condition = toset([
      for alarm in aws_sagemaker_endpoint.service[0].deployment_config[0].auto_rollback_configuration[0].alarms : alarm.alarm_name
      ]) == toset([
      "scones-test-endpoint-5xx-errors",
      "scones-test-endpoint-model-latency-microseconds",
      "scones-test-endpoint-overhead-latency-microseconds",
    ])
    error_message = "Every guardrail alarm must be able to roll an update back."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.guardrail["endpoint-model-latency-microseconds"].threshold == 2000000
    error_message = "Two seconds are 2,000,000 microseconds."
  }
}

run "flipping_the_current_release_moves_the_endpoint_alone" {
  command = plan

  variables {
    current_release  = "20261120-090000-1a2b3c4"
    minimum_accuracy = 0.8
  }

  assert {
    condition     = aws_sagemaker_endpoint.service[0].endpoint_config_name == run.each_release_keeps_its_configuration_and_the_current_one_serves.endpoint_configurations["20261120-090000-1a2b3c4"]
    error_message = "A rollback goes to the configuration that was there before."
  }
}

run "new_instance_type_is_a_new_configuration" {
  command = plan

  variables {
    instance_type = "ml.c5.xlarge"
  }

  # SageMaker compares names: under the same name the endpoint would keep its old instances.
  assert {
    condition     = aws_sagemaker_endpoint.service[0].endpoint_config_name != run.each_release_keeps_its_configuration_and_the_current_one_serves.endpoint_configurations["20261121-101500-3f2a9c1"]
    error_message = "A change of settings must change the configuration's name."
  }
}

run "instances_with_local_disks_bring_their_own_key" {
  command = plan

  variables {
    instance_type = "ml.g4dn.xlarge"
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.release["20261121-101500-3f2a9c1"].kms_key_arn == null
    error_message = "SageMaker refuses a volume key for an instance with local disks."
  }
}

run "offline_keeps_models_and_configurations" {
  command = plan

  variables {
    online = false
  }

  assert {
    condition     = length(aws_sagemaker_endpoint.service) == 0 && length(aws_appautoscaling_target.instances) == 0
    error_message = "Offline, nothing that costs by the hour may stay."
  }

  assert {
    condition     = length(aws_sagemaker_endpoint_configuration.release) == 2
    error_message = "Offline, the configurations stay."
  }
}

run "canary_takes_a_share_of_the_capacity" {
  command = plan

  variables {
    capacity   = { minimum = 2, maximum = 4 }
    deployment = { strategy = "CANARY", canary_percent = 25 }
  }

  assert {
    condition     = aws_sagemaker_endpoint.service[0].deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].canary_size[0].value == 25
    error_message = "The canary's share must be the one asked for."
  }
}

run "canary_on_one_instance_is_refused" {
  command = plan

  variables {
    deployment = { strategy = "CANARY" }
  }

  expect_failures = [var.deployment]
}

run "unknown_current_release_is_refused" {
  command = plan

  variables {
    current_release = "20261122-000000-fffffff"
  }

  expect_failures = [var.current_release]
}

run "inaccurate_release_does_not_serve" {
  command = plan

  variables {
    current_release = "20261120-090000-1a2b3c4"
  }

  expect_failures = [aws_sagemaker_endpoint.service]
}

run "graviton_needs_an_arm64_image" {
  command = plan

  variables {
    instance_type = "ml.c7g.large"
  }

  expect_failures = [aws_sagemaker_endpoint.service]
}

run "accuracy_in_percent_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases        = { r1 = merge(var.releases["20261121-101500-3f2a9c1"], { accuracy = 97 }) }
  }

  expect_failures = [var.releases]
}

run "unknown_algorithm_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases        = { r1 = merge(var.releases["20261121-101500-3f2a9c1"], { algorithm = "xgboost" }) }
  }

  expect_failures = [var.releases]
}

run "one_class_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases        = { r1 = merge(var.releases["20261121-101500-3f2a9c1"], { classes = ["bicycle"] }) }
  }

  expect_failures = [var.releases]
}

run "class_named_twice_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases        = { r1 = merge(var.releases["20261121-101500-3f2a9c1"], { classes = ["bicycle", "bicycle"] }) }
  }

  expect_failures = [var.releases]
}

run "malformed_shape_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases        = { r1 = merge(var.releases["20261121-101500-3f2a9c1"], { image_shape = "32x32" }) }
  }

  expect_failures = [var.releases]
}

run "image_outside_ecr_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases        = { r1 = merge(var.releases["20261121-101500-3f2a9c1"], { inference_image = "pytorch" }) }
  }

  expect_failures = [var.releases]
}

run "model_elsewhere_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases        = { r1 = merge(var.releases["20261121-101500-3f2a9c1"], { model_data_url = "s3://elsewhere/model.tar.gz" }) }
  }

  expect_failures = [var.releases]
}

run "threshold_of_zero_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases        = { r1 = merge(var.releases["20261121-101500-3f2a9c1"], { threshold = 0 }) }
  }

  expect_failures = [var.releases]
}

run "threshold_above_one_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases        = { r1 = merge(var.releases["20261121-101500-3f2a9c1"], { threshold = 1.2 }) }
  }

  expect_failures = [var.releases]
}

run "release_id_that_fits_no_name_is_refused" {
  command = plan

  variables {
    current_release = "Release_1"
    releases        = { Release_1 = var.releases["20261121-101500-3f2a9c1"] }
  }

  expect_failures = [var.releases]
}

run "unknown_instance_type_is_refused" {
  command = plan

  variables {
    instance_type = "ml.z9.large"
  }

  expect_failures = [var.instance_type]
}

run "instance_type_of_ec2_is_refused" {
  command = plan

  variables {
    instance_type = "c5.large"
  }

  expect_failures = [var.instance_type]
}

run "instance_type_without_guardrails_is_refused" {
  command = plan

  variables {
    instance_type = "ml.inf1.xlarge"
  }

  expect_failures = [var.instance_type]
}

run "capacity_upside_down_is_refused" {
  command = plan

  variables {
    capacity = { minimum = 3, maximum = 2 }
  }

  expect_failures = [var.capacity]
}

run "target_of_no_invocations_is_refused" {
  command = plan

  variables {
    capacity = { invocations_per_minute = 0 }
  }

  expect_failures = [var.capacity]
}

run "unknown_strategy_is_refused" {
  command = plan

  variables {
    deployment = { strategy = "ROLLING" }
  }

  expect_failures = [var.deployment]
}

run "canary_of_all_is_refused" {
  command = plan

  variables {
    capacity   = { minimum = 2 }
    deployment = { strategy = "CANARY", canary_percent = 80 }
  }

  expect_failures = [var.deployment]
}

run "bake_of_a_day_is_refused" {
  command = plan

  variables {
    deployment = { bake_seconds = 86400 }
  }

  expect_failures = [var.deployment]
}

run "capture_above_all_is_refused" {
  command = plan

  variables {
    data_capture_percentage = 120
  }

  expect_failures = [var.data_capture_percentage]
}

run "latency_in_milliseconds_is_refused" {
  command = plan

  variables {
    alarm_thresholds = { model_latency_microseconds = 500 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "alarm_on_no_errors_is_refused" {
  command = plan

  variables {
    alarm_thresholds = { errors_per_minute = 0 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "accuracy_above_one_is_refused" {
  command = plan

  variables {
    minimum_accuracy = 90
  }

  expect_failures = [var.minimum_accuracy]
}

run "unknown_retention_is_refused" {
  command = plan

  variables {
    log_retention_days = 31
  }

  expect_failures = [var.log_retention_days]
}

run "policy_that_is_a_role_is_refused" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:role/admin"
  }

  expect_failures = [var.permissions_boundary_arn]
}

run "network_reaches_the_containers_and_their_role" {
  command = plan

  variables {
    network = { security_group_ids = ["sg-0123456789abcdef0"], subnet_ids = ["subnet-0123456789abcdef0"] }
  }

  assert {
    condition     = alltrue([for model in aws_sagemaker_model.release : model.vpc_config[0].subnets == toset(["subnet-0123456789abcdef0"])])
    error_message = "The containers must run in the network that was asked for."
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.network[0].statement :
      statement.resources != toset(["*"]) || alltrue([for action in statement.actions : startswith(action, "ec2:Describe")])
    ])
    error_message = "Only looking up may be allowed everywhere."
  }

  # The same container elsewhere is another model: SageMaker looks at a configuration only when its name changes.
  assert {
    condition     = aws_sagemaker_endpoint.service[0].endpoint_config_name != run.each_release_keeps_its_configuration_and_the_current_one_serves.endpoint_configurations["20261121-101500-3f2a9c1"]
    error_message = "A change of network must change the configuration's name."
  }
}

run "subnet_by_its_name_is_refused" {
  command = plan

  variables {
    network = { security_group_ids = ["sg-0123456789abcdef0"], subnet_ids = ["private-a"] }
  }

  expect_failures = [var.network]
}

run "network_without_security_groups_is_refused" {
  command = plan

  variables {
    network = { security_group_ids = [], subnet_ids = ["subnet-0123456789abcdef0"] }
  }

  expect_failures = [var.network]
}

run "role_pulls_the_images_of_the_releases_alone" {
  command = plan

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.model.statement : statement.resources if statement.sid == "PullContainers"
      ]) == toset([
      "arn:aws:ecr:eu-central-1:763104351884:repository/pytorch-inference",
      "arn:aws:ecr:eu-central-1:813361260812:repository/image-classification",
    ])
    error_message = "The role pulls what the releases name."
  }
}

run "boundary_bounds_the_role" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/scones-boundary"
  }

  assert {
    condition     = aws_iam_role.model.permissions_boundary == "arn:aws:iam::123456789012:policy/scones-boundary"
    error_message = "An apply role that must bound every role cannot make this one."
  }
}

run "serverless_goes_without_and_says_so" {
  command = plan

  variables {
    serverless = { max_concurrency = 5, memory_mb = 3072 }
  }

  expect_failures = [check.serverless_goes_without]

  assert {
    condition = alltrue([
      for configuration in aws_sagemaker_endpoint_configuration.release :
      configuration.production_variants[0].serverless_config[0].memory_size_in_mb == 3072 &&
      configuration.production_variants[0].instance_type == null &&
      length(configuration.data_capture_config) == 0 && configuration.kms_key_arn == null
    ])
    error_message = "SageMaker refuses instances and data capture beside a serverless configuration."
  }

  # SageMaker converts no endpoint: under the name of the one on instances the replacement could not be made.
  assert {
    condition     = aws_sagemaker_endpoint.service[0].name == "scones-test-serverless" && output.name == "scones-test-serverless"
    error_message = "An endpoint of another kind needs another name."
  }

  assert {
    condition     = !anytrue([for model in aws_sagemaker_model.release : model.enable_network_isolation])
    error_message = "SageMaker refuses an isolated model behind a serverless endpoint."
  }

  assert {
    condition     = length(aws_sagemaker_endpoint.service[0].deployment_config) == 0 && length(aws_appautoscaling_target.instances) == 0 && length(aws_appautoscaling_policy.invocations) == 0
    error_message = "There are no instances to scale or to take a canary from."
  }

  assert {
    condition     = !contains(keys(aws_cloudwatch_metric_alarm.guardrail), "endpoint-overhead-latency-microseconds")
    error_message = "A cold start is no fault."
  }

  assert {
    condition     = !strcontains(jsonencode(data.aws_iam_policy_document.model.statement), "data_capture")
    error_message = "A role that captures nothing writes nothing."
  }
}

run "serverless_captures_nothing" {
  command = plan

  variables {
    data_capture_percentage = 100
    serverless              = { max_concurrency = 5, memory_mb = 3072 }
  }

  expect_failures = [var.serverless]
}

run "serverless_knows_no_canary" {
  command = plan

  variables {
    capacity   = { minimum = 2 }
    deployment = { strategy = "CANARY" }
    serverless = { max_concurrency = 5, memory_mb = 3072 }
  }

  expect_failures = [var.serverless]
}

run "serverless_knows_no_network" {
  command = plan

  variables {
    network    = { security_group_ids = ["sg-0123456789abcdef0"], subnet_ids = ["subnet-0123456789abcdef0"] }
    serverless = { max_concurrency = 5, memory_mb = 3072 }
  }

  expect_failures = [var.serverless]
}

run "serverless_memory_between_sizes_is_refused" {
  command = plan

  variables {
    serverless = { max_concurrency = 5, memory_mb = 2000 }
  }

  expect_failures = [var.serverless]
}

run "serverless_concurrency_above_the_limit_is_refused" {
  command = plan

  variables {
    serverless = { max_concurrency = 201, memory_mb = 3072 }
  }

  expect_failures = [var.serverless]
}

run "serverless_has_no_gpu" {
  command = plan

  variables {
    releases   = { "20261121-101500-3f2a9c1" = merge(var.releases["20261121-101500-3f2a9c1"], { inference_image = "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-inference:2.6-gpu-py312" }) }
    serverless = { max_concurrency = 5, memory_mb = 3072 }
  }

  expect_failures = [check.serverless_goes_without, aws_sagemaker_endpoint.service]
}
