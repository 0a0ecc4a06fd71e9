variable "emails" {
  description = "Addresses that receive every message; each confirms its subscription once."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "Every address must look like name@example.com."
  }
}

variable "endpoint" {
  description = "Name of the endpoint and of its variant, for the dashboard."
  type = object({
    name    = string
    variant = string
  })
}

variable "endpoint_alarm_names" {
  description = "Names of the endpoint's guardrail alarms, which are part of the composite alarm."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "functions" {
  description = "The Lambda functions by key: name, and how many errors in five minutes are too many."
  type = map(object({
    name             = string
    errors_threshold = optional(number, 3)
  }))

  validation {
    condition     = alltrue([for function in var.functions : function.errors_threshold >= 1])
    error_message = "errors_threshold must be at least 1."
  }
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the topic."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
}

variable "name" {
  description = "Prefix of every resource's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,27}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 29 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "publisher_role_arn" {
  description = "ARN of the role that publishes to the topic: the state machine's."
  type        = string
}

variable "publisher_rule_arns" {
  description = "ARNs of the EventBridge rules that publish to the topic."
  type        = list(string)
}

variable "state_machine_arn" {
  description = "ARN of the state machine whose executions are watched."
  type        = string
}

variable "thresholds" {
  description = "How many executions in five minutes may fail, or time out, before the alarm rings."
  type = object({
    executions_failed    = optional(number, 10)
    executions_timed_out = optional(number, 1)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.thresholds.executions_failed >= 1 && var.thresholds.executions_timed_out >= 1
    error_message = "thresholds must be at least 1."
  }
}

variable "undelivered_queue" {
  description = "Name of the queue that keeps events no target took."
  type        = string
}
