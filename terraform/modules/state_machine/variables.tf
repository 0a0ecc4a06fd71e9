variable "definition" {
  # The states differ from machine to machine: Step Functions checks them when Terraform plans.
  description = "The definition in Amazon States Language, as an object: jsonencode is this module's business."
  type        = any

  validation {
    condition     = can(var.definition.TimeoutSeconds) && can(var.definition.States[var.definition.StartAt])
    error_message = "definition needs TimeoutSeconds, and StartAt must name one of its States."
  }
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the log group."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
}

variable "log_retention_days" {
  description = "Days that log lines are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a retention that CloudWatch Logs knows, such as 7, 14, 30, 90 or 365."
  }
}

variable "name" {
  description = "Name of the state machine and its role, and part of its log group's."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9-_]{1,64}$", var.name))
    error_message = "name must have 1 to 64 letters, digits, hyphens and underscores."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds the function's role, as bootstrap makes it; null bounds nothing."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null ? true : can(regex("^arn:[^:]+:iam::[^:]*:policy/", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "policies" {
  description = "What the state machine may do besides logging: IAM policy documents in JSON, by name."
  type        = map(string)
  default     = {}
  nullable    = false
}
