# A serverless endpoint scales by itself, up to its max_concurrency.
locals {
  is_scaled = var.online && !local.is_serverless
}

# SageMaker refuses to change the instance type of a variant while a scaling target is registered. Replacing the target
# deregisters it first: Terraform destroys it, updates the endpoint, and registers it again (measured on Terraform 1.11).
resource "terraform_data" "instance_type" {
  input = var.instance_type
}

resource "aws_appautoscaling_target" "instances" {
  count = local.is_scaled ? 1 : 0

  service_namespace  = "sagemaker"
  resource_id        = "endpoint/${aws_sagemaker_endpoint.service[0].name}/variant/${local.variant}"
  scalable_dimension = "sagemaker:variant:DesiredInstanceCount"
  min_capacity       = var.capacity.minimum
  max_capacity       = var.capacity.maximum

  lifecycle {
    replace_triggered_by = [terraform_data.instance_type]
  }
}

resource "aws_appautoscaling_policy" "invocations" {
  count = local.is_scaled ? 1 : 0

  name               = "${var.name}-invocations-per-instance"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.instances[0].service_namespace
  resource_id        = aws_appautoscaling_target.instances[0].resource_id
  scalable_dimension = aws_appautoscaling_target.instances[0].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = var.capacity.invocations_per_minute
    scale_in_cooldown  = 300 # a new instance takes minutes: let go slowly
    scale_out_cooldown = 60

    predefined_metric_specification {
      predefined_metric_type = "SageMakerVariantInvocationsPerInstance"
    }
  }

  # A target that is deregistered takes its policies with it.
  lifecycle {
    replace_triggered_by = [terraform_data.instance_type]
  }
}
