variable "architecture" {
  description = "Processor that the package was built for. Graviton (arm64) costs a fifth less for the same time."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "description" {
  description = "What the function does, in one line."
  type        = string

  validation {
    condition     = length(var.description) > 0 && length(var.description) <= 256
    error_message = "description must have 1 to 256 characters."
  }
}

variable "environment" {
  description = "Environment variables. Never secrets."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key in keys(var.environment) : can(regex("^[A-Z][A-Z0-9_]*$", key))])
    error_message = "Environment variables are named in capitals, digits and underscores."
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

variable "memory_mb" {
  description = "Memory in MB. The processor's share grows with it."
  type        = number
  default     = 256

  validation {
    condition     = var.memory_mb >= 128 && var.memory_mb <= 10240
    error_message = "memory_mb must be between 128 and 10240."
  }
}

variable "name" {
  description = "Name of the function, its role and its log group."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9-_]{1,64}$", var.name))
    error_message = "name must have 1 to 64 letters, digits, hyphens and underscores."
  }
}

variable "network" {
  description = "Subnets and security groups of the function; the subnets need a way to every service that it calls. Null leaves it in Lambda's own network."
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

variable "package" {
  description = "Path of the zip with the code."
  type        = string

  validation {
    condition     = fileexists(var.package)
    error_message = "There is no package at ${var.package}. Run `invoke package`, which builds it."
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
  description = "What the function may do besides logging: IAM policy documents in JSON, by name."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "reserved_concurrency" {
  description = "Executions kept for this function and its upper bound; -1 shares the account's."
  type        = number
  default     = -1

  validation {
    condition     = var.reserved_concurrency >= -1
    error_message = "reserved_concurrency must be -1 (none reserved) or more; 0 turns the function off."
  }
}

variable "timeout_seconds" {
  description = "Seconds after which Lambda stops an execution."
  type        = number
  default     = 30

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 900
    error_message = "timeout_seconds must be between 1 and 900."
  }
}

variable "tracing" {
  description = "Sample requests with X-Ray."
  type        = bool
  default     = true
  nullable    = false
}
