variable "batch" {
  description = "Bounds of classify-batch: images at a time, prefixes that may be classified, seconds until a batch is stopped, and the percentage of images that may fail before the batch does."
  type = object({
    max_concurrency              = optional(number, 40)
    prefixes                     = optional(set(string), ["incoming/", "test/", "uploads/"])
    timeout_seconds              = optional(number, 21600)
    tolerated_failure_percentage = optional(number, 5)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.batch.max_concurrency >= 1 && var.batch.max_concurrency <= 1000 && floor(var.batch.max_concurrency) == var.batch.max_concurrency
    error_message = "batch.max_concurrency must be a whole number from 1 to 1000: Lambda's and the endpoint's limits come far earlier."
  }

  validation {
    condition     = length(var.batch.prefixes) > 0 && alltrue([for prefix in var.batch.prefixes : can(regex("^[^*?]+/$", prefix))])
    error_message = "batch.prefixes needs at least one prefix, and each must end with a slash and hold no wildcard."
  }

  validation {
    condition     = var.batch.timeout_seconds >= 300 && var.batch.timeout_seconds <= 604800
    error_message = "batch.timeout_seconds must be from 300, which one image may take, to 604800, which is a week."
  }

  validation {
    condition     = var.batch.tolerated_failure_percentage >= 0 && var.batch.tolerated_failure_percentage < 100
    error_message = "batch.tolerated_failure_percentage must be at least 0 and below 100: with 100 no batch ever fails."
  }
}

variable "bucket" {
  description = "Bucket whose uploads start executions."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket must be the name of an S3 bucket."
  }
}

variable "classes" {
  description = "Classes of the current release, in the order of its probabilities."
  type        = list(string)

  validation {
    condition     = length(var.classes) >= 2
    error_message = "There must be at least two classes."
  }

  validation {
    condition     = length(setsubtract(var.classes, keys(var.routing_table))) == 0
    error_message = "The routing table has no place for ${join(", ", setsubtract(var.classes, keys(var.routing_table)))}: a vehicle of that class would get no driver."
  }
}

variable "functions" {
  description = "The Lambda functions of the three states, by name: the alias to invoke and its timeout."
  type = map(object({
    alias_arn       = string
    timeout_seconds = number
  }))

  validation {
    condition     = toset(keys(var.functions)) == toset(["classify_image", "filter_confidence", "serialize_image"])
    error_message = "functions must be exactly serialize_image, classify_image and filter_confidence."
  }
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the log group and the topic."
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
  description = "Prefix of every resource's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,27}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 29 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds the roles of the state machine and of the upload rule, as bootstrap makes it; null bounds nothing."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null ? true : can(regex("^arn:[^:]+:iam::[^:]*:policy/", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "release" {
  description = "Id of the release that serves: part of every result."
  type        = string

  validation {
    condition     = length(var.release) > 0
    error_message = "release must not be empty."
  }
}

variable "routing_table" {
  description = "Where the driver of each vehicle loads, and how far their orders go."
  type = map(object({
    loading_bay     = string
    order_radius_km = number
  }))

  validation {
    condition     = alltrue([for place in var.routing_table : length(place.loading_bay) > 0 && place.order_radius_km > 0])
    error_message = "Every vehicle needs a loading bay and an order radius above 0 km."
  }
}

variable "threshold" {
  description = "Confidence that the likeliest class must reach; FilterConfidence enforces it, messages quote it."
  type        = number

  validation {
    condition     = var.threshold > 0 && var.threshold <= 1
    error_message = "threshold must be above 0 and at most 1."
  }
}

variable "timeout_seconds" {
  description = "Seconds after which an execution is stopped, retries included."
  type        = number
  default     = 300

  validation {
    condition     = var.timeout_seconds >= 60
    error_message = "timeout_seconds must be at least 60: a function alone may take half of that."
  }
}

variable "topic_arn" {
  description = "ARN of the topic that people listen to."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:sns:", var.topic_arn))
    error_message = "topic_arn must be the ARN of an SNS topic."
  }
}

variable "undelivered_rule_arns" {
  description = "ARNs of other modules' rules whose events the queue of undelivered events keeps as well."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "upload_prefix" {
  description = "Prefix of the objects whose arrival starts an execution."
  type        = string
  default     = "incoming/"

  validation {
    condition     = endswith(var.upload_prefix, "/")
    error_message = "upload_prefix must end with a slash."
  }
}
