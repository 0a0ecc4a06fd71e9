output "alarm_names" {
  description = "Names of the guardrail alarms."
  value       = [for alarm in aws_cloudwatch_metric_alarm.guardrail : alarm.alarm_name]
}

# Known before the endpoint is there: a policy that names it need not wait the minutes that it takes. Of both kinds,
# because callers go on while one takes the other's place.
output "arns" {
  description = "ARNs that the endpoint has on instances and as serverless one."
  value       = [for name in values(local.names) : "arn:${local.partition}:sagemaker:${local.region}:${local.account_id}:endpoint/${name}"]
}

output "endpoint_configurations" {
  description = "Name of the endpoint configuration of each retained release."
  value       = { for id, configuration in aws_sagemaker_endpoint_configuration.release : id => configuration.name }
}

output "name" {
  description = "Name of the endpoint."
  value       = local.endpoint_name
}

# The threshold and the order of the classes belong to the model: whoever uses them changes after the endpoint has moved,
# and not the minutes before, in which the old model still answers.
output "serving" {
  description = "The current release, once the endpoint serves it: id, classes in the order of the probabilities, threshold."
  value = {
    classes   = var.releases[var.current_release].classes
    id        = var.current_release
    threshold = var.releases[var.current_release].threshold
  }

  depends_on = [aws_sagemaker_endpoint.service]
}

output "variant" {
  description = "Name of the endpoint's only variant."
  value       = local.variant
}
