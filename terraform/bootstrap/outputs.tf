output "apply_role_arns" {
  description = "ARN of the apply role of each environment: a variable of the environment on GitHub."
  value       = { for environment, role in aws_iam_role.apply : environment => role.arn }
}

output "backend" {
  description = "Text of backend.hcl, with which every environment is initialized."
  value       = local.backend
}

output "drift_role_arn" {
  description = "ARN of the role of the nightly comparison: a variable of the repository on GitHub."
  value       = aws_iam_role.drift.arn
}

output "permissions_boundary_arn" {
  description = "ARN of the boundary that every role of an environment must carry, or the apply role may not make it."
  value       = aws_iam_policy.boundary.arn
}

output "plan_role_arn" {
  description = "ARN of the plan role, for pull requests: a variable of the repository on GitHub."
  value       = aws_iam_role.plan.arn
}

output "region" {
  description = "Region of the states and of every environment."
  value       = var.region
}

output "state_bucket" {
  description = "Name of the bucket that holds the states."
  value       = aws_s3_bucket.state.bucket

  # Whoever writes a state meets the bucket complete: versioned, encrypted, closed.
  depends_on = [
    aws_s3_bucket_policy.state,
    aws_s3_bucket_server_side_encryption_configuration.state,
    aws_s3_bucket_versioning.state,
  ]
}

output "train_role_arns" {
  description = "ARN of the training role of each environment: a variable of the environment on GitHub."
  value       = { for environment, role in aws_iam_role.train : environment => role.arn }
}
