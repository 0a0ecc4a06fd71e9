# The toolkit reads these; they have the same names in every environment. Without a release the service's are null.

locals {
  service = one(module.service)
}

output "bucket" {
  description = "Name of the data bucket."
  value       = module.foundation.bucket
}

output "current_release" {
  description = "Id of the release that serves."
  value       = try(local.service.current_release, null)
}

output "dashboard_url" {
  description = "Address of the dashboard."
  value       = try(local.service.dashboard_url, null)
}

output "endpoint_name" {
  description = "Name of the endpoint."
  value       = try(local.service.endpoint_name, null)
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts the data."
  value       = module.foundation.kms_key_arn
}

output "name" {
  description = "Prefix of every resource's name."
  value       = module.foundation.name
}

output "region" {
  description = "Region that everything lies in."
  value       = var.region
}

output "state_machine_alias_arn" {
  description = "ARN to start executions with."
  value       = try(local.service.state_machine_alias_arn, null)
}

output "state_machine_arn" {
  description = "ARN of the state machine classify-vehicle."
  value       = try(local.service.state_machine_arn, null)
}

output "threshold" {
  description = "Confidence that the current release must reach."
  value       = try(local.service.threshold, null)
}

output "topic_arn" {
  description = "ARN of the topic that people listen to."
  value       = try(local.service.topic_arn, null)
}

output "training_role_arn" {
  description = "ARN of the role that training jobs run under."
  value       = module.foundation.training_role_arn
}
