output "batch_state_machine_arn" {
  description = "ARN to start batches with: the alias \"live\" of classify-batch."
  value       = module.classification_workflow.batch_alias_arn
}

output "bucket" {
  description = "Name of the data bucket, where images are uploaded to."
  value       = var.bucket
}

output "dashboard_url" {
  description = "Address of the dashboard."
  value       = module.monitoring.dashboard_url
}

output "drift_function_name" {
  description = "Name of the function that checks for drift; null where nobody checks."
  value       = local.drift_function != null ? module.lambda_function["check_drift"].name : null
}

# What should serve, whatever the endpoint says after a guardrail has rolled an update back: `invoke verify` compares.
output "endpoint_configuration" {
  description = "Name of the endpoint configuration of the current release; null while the endpoint is switched off."
  value       = coalesce(var.endpoint.online, true) ? module.inference_endpoint.endpoint_configurations[var.current_release] : null
}

output "endpoint_configurations" {
  description = "Name of the endpoint configuration of each retained release."
  value       = module.inference_endpoint.endpoint_configurations
}

output "endpoint_name" {
  description = "Name of the endpoint."
  value       = module.inference_endpoint.name
}

output "release" {
  description = "The release that should serve, and how good it is: a plan shows what changes."
  value = {
    accuracy       = var.releases[var.current_release].accuracy
    classes        = var.releases[var.current_release].classes
    dataset_sha256 = var.releases[var.current_release].dataset_sha256
    id             = var.current_release
    model_sha256   = var.releases[var.current_release].model_sha256
    test_images    = var.releases[var.current_release].test_images
    threshold      = var.releases[var.current_release].threshold
  }
}

output "retraining_state_machine_alias_arn" {
  description = "ARN to start a retraining with: the alias \"live\"."
  value       = module.retraining_workflow.alias_arn
}

output "state_machine_alias_arn" {
  description = "ARN to start executions with: the alias \"live\"."
  value       = module.classification_workflow.alias_arn
}

output "state_machine_arn" {
  description = "ARN of the state machine classify-vehicle."
  value       = module.classification_workflow.state_machine_arn
}

output "topic_arn" {
  description = "ARN of the topic that people listen to."
  value       = module.monitoring.topic_arn
}
