variable "description" {
  description = "What is started and why, in one line."
  type        = string

  validation {
    condition     = length(var.description) > 0 && length(var.description) <= 512
    error_message = "description must have 1 to 512 characters."
  }
}

variable "expression" {
  description = "When: rate(1 hour), cron(0 3 ? * MON *) or at(2027-01-31T03:00:00), in UTC."
  type        = string

  validation {
    condition     = can(regex("^(rate\\([1-9][0-9]* (minute|hour|day)s?\\)|cron\\([^)]+\\)|at\\([0-9T:-]+\\))$", var.expression))
    error_message = "expression is ${var.expression}; it must be one that EventBridge Scheduler knows, such as rate(1 hour) or cron(0 3 ? * MON *)."
  }
}

variable "input" {
  # It differs from target to target.
  description = "What the target gets, as an object: jsonencode is this module's business."
  type        = any
}

variable "name" {
  description = "Name of the schedule, and beginning of its role's."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9-_.]{1,55}$", var.name))
    error_message = "name must have 1 to 55 letters, digits, dots, hyphens and underscores: with an ending it is a role's name."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds the schedule's role, as bootstrap makes it; null bounds nothing."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null ? true : can(regex("^arn:[^:]+:iam::[^:]*:policy/", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "policy" {
  description = "What starting the target needs: an IAM policy document in JSON."
  type        = string
}

variable "target_arn" {
  description = "ARN of the alias of a function or of a state machine."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:(lambda:[^:]*:[^:]*:function|states:[^:]*:[^:]*:stateMachine):[^:]+:[^:]+$", var.target_arn))
    error_message = "target_arn must be the ARN of an alias of a Lambda function or of a state machine: what is started is a published version."
  }
}

variable "undelivered_queue_arn" {
  description = "ARN of the queue that keeps starts which the target did not take."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:sqs:", var.undelivered_queue_arn))
    error_message = "undelivered_queue_arn must be the ARN of an SQS queue."
  }
}
