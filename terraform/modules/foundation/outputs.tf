output "bucket" {
  description = "Name of the data bucket."
  value       = aws_s3_bucket.data.bucket

  # Whoever uses the bucket meets it complete: encrypted, closed, with events on.
  depends_on = [
    aws_s3_bucket_notification.data,
    aws_s3_bucket_policy.data,
    aws_s3_bucket_server_side_encryption_configuration.data,
  ]
}

output "bucket_arn" {
  description = "ARN of the data bucket."
  value       = aws_s3_bucket.data.arn
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts the bucket, the logs and the notifications."
  value       = aws_kms_key.data.arn
}

output "name" {
  description = "Prefix of every resource's name."
  value       = var.name
}

output "network" {
  description = "Subnets and security groups of jobs, model containers and functions; null where AWS runs them in a network of its own."
  value       = var.network
}

output "region" {
  description = "Region that everything lies in."
  value       = local.region
}

output "training_role_arn" {
  description = "ARN of the role that training jobs run under."
  value       = aws_iam_role.training.arn

  # A job that starts before the role may read its channels fails.
  depends_on = [aws_iam_role_policy.training, aws_iam_role_policy.training_network]
}
