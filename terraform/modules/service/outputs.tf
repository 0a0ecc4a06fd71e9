output "current_release" {
  description = "Id of the release that serves."
  value       = local.release.id
}

output "dashboard_url" {
  description = "Address of the dashboard."
  value       = module.monitoring.dashboard_url
}

output "endpoint_name" {
  description = "Name of the endpoint."
  value       = module.inference_endpoint.name
}

output "state_machine_alias_arn" {
  description = "ARN to start executions with: the alias \"live\"."
  value       = module.classification_workflow.alias_arn
}

output "state_machine_arn" {
  description = "ARN of the state machine classify-vehicle."
  value       = module.classification_workflow.state_machine_arn
}

output "threshold" {
  description = "Confidence that the current release must reach."
  value       = local.release.threshold
}

output "topic_arn" {
  description = "ARN of the topic that people listen to."
  value       = module.monitoring.topic_arn
}
