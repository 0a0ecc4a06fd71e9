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

run "broken_record_is_refused" {
  command = plan

  variables {
    current_release = "r1"
    releases = {
      r1 = {
        accuracy        = 97
        algorithm       = "xgboost"
        classes         = ["bicycle"]
        image_shape     = "32x32"
        inference_image = "image"
        model_data_url  = "s3://elsewhere/model.tar.gz"
        threshold       = 0
      }
    }
  }

  expect_failures = [var.releases]
}
