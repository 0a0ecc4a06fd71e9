variable "data_capture_retention_days" {
  description = "Days that captured requests and responses are kept under data_capture/."
  type        = number
  default     = 90

  validation {
    condition     = var.data_capture_retention_days >= 1 && floor(var.data_capture_retention_days) == var.data_capture_retention_days
    error_message = "data_capture_retention_days must be a whole number of days, at least 1."
  }
}

variable "force_destroy" {
  description = "Delete the bucket with everything in it on destroy. Only for environments whose data can be made again."
  type        = bool
  default     = false
  nullable    = false
}

variable "key_deletion_window_days" {
  description = "Days between the destroy of the KMS key and its deletion, in which it can still be saved."
  type        = number
  default     = 30

  validation {
    condition     = var.key_deletion_window_days >= 7 && var.key_deletion_window_days <= 30
    error_message = "key_deletion_window_days must be between 7 and 30."
  }
}

variable "name" {
  description = "Prefix of every resource's name, such as scones-dev."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,27}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 29 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen: it is part of bucket, role and endpoint names."
  }
}

variable "network" {
  description = "Subnets and security groups of training and evaluation jobs; the output hands them on to what serves. The subnets need a way to S3, ECR, CloudWatch, KMS, SNS, Step Functions and the SageMaker API, and for training our program to a package registry. Null runs all in a network of AWS."
  type = object({
    security_group_ids = set(string)
    subnet_ids         = set(string)
  })
  default = null

  validation {
    condition     = var.network == null ? true : alltrue([for id in var.network.subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))]) && length(var.network.subnet_ids) >= 1 && length(var.network.subnet_ids) <= 16
    error_message = "network.subnet_ids must hold 1 to 16 subnets, such as subnet-0123456789abcdef0. For no network of your own leave network out."
  }

  validation {
    condition     = var.network == null ? true : alltrue([for id in var.network.security_group_ids : can(regex("^sg-[0-9a-f]{8,17}$", id))]) && length(var.network.security_group_ids) >= 1 && length(var.network.security_group_ids) <= 5
    error_message = "network.security_group_ids must hold 1 to 5 security groups, such as sg-0123456789abcdef0. For no network of your own leave network out."
  }
}

variable "noncurrent_version_retention_days" {
  description = "Days that an overwritten or deleted object can still be brought back."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_version_retention_days >= 1 && floor(var.noncurrent_version_retention_days) == var.noncurrent_version_retention_days
    error_message = "noncurrent_version_retention_days must be a whole number of days, at least 1."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds the training role, as bootstrap makes it; null bounds nothing."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null ? true : can(regex("^arn:[^:]+:iam::[^:]*:policy/", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "report_retention_days" {
  description = "Days that reports of drift checks, comparisons of candidates and answers of evaluations are kept under reports/, candidates/ and evaluation/. A candidate must be promoted within them."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.report_retention_days >= 7 && floor(var.report_retention_days) == var.report_retention_days
    error_message = "report_retention_days must be a whole number of days, at least 7: people need time to look."
  }
}
