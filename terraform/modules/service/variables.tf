variable "bucket" {
  description = "Data bucket of the foundation."
  type        = string
}

variable "current_release" {
  description = "Id of the release that serves: a key of releases."
  type        = string

  validation {
    condition     = contains(keys(var.releases), var.current_release)
    error_message = "current_release is ${var.current_release}, which is none of the known releases: ${length(var.releases) == 0 ? "there is none, run `invoke train`" : join(", ", keys(var.releases))}."
  }
}

variable "emails" {
  description = "Addresses that receive every message."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "endpoint" {
  description = "Settings of the endpoint; the module inference_endpoint says what each is and checks it. online = false turns off what costs by the hour."
  type = object({
    alarm_thresholds = optional(object({
      errors_per_minute             = optional(number)
      model_latency_microseconds    = optional(number)
      overhead_latency_microseconds = optional(number)
    }))
    capacity = optional(object({
      invocations_per_minute = optional(number)
      maximum                = optional(number)
      minimum                = optional(number)
    }))
    data_capture_percentage = optional(number)
    deployment = optional(object({
      bake_seconds             = optional(number)
      canary_percent           = optional(number)
      strategy                 = optional(string)
      termination_wait_seconds = optional(number)
    }))
    instance_type = optional(string)
    online        = optional(bool)
  })
  default  = {}
  nullable = false
}

variable "image_limits" {
  description = "What SerializeImage accepts: bytes and pixels of an upload. side is the longer side of the PNG that it makes, before the model's own program brings it to image_shape as in training."
  type = object({
    max_bytes  = optional(number, 10485760)
    max_pixels = optional(number, 25000000)
    side       = optional(number, 224)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.image_limits.max_bytes > 0 && var.image_limits.max_pixels > 0
    error_message = "image_limits.max_bytes and image_limits.max_pixels must be above 0."
  }

  # Noise of 240 x 240 pixels makes 231 kB of base64; Step Functions carries 262,144 bytes.
  validation {
    condition     = var.image_limits.side >= 8 && var.image_limits.side <= 240
    error_message = "image_limits.side must be between 8 and 240: a larger image may not fit into the workflow's payload."
  }
}

variable "kms_key_arn" {
  description = "ARN of the foundation's key."
  type        = string
}

variable "lambda_architecture" {
  description = "Processor that the packages were built for: arm64 or x86_64."
  type        = string
  default     = "arm64"
  nullable    = false
}

variable "lambda_packages" {
  description = "Folder with serialize_image.zip, classify_image.zip and filter_confidence.zip."
  type        = string
}

variable "log_retention_days" {
  description = "Days that log lines are kept."
  type        = number
  default     = 30
  nullable    = false
}

variable "minimum_accuracy" {
  description = "Share of its test images that a release must get right before it may serve."
  type        = number
  default     = 0.9
  nullable    = false
}

variable "name" {
  description = "Prefix of every resource's name, and the endpoint's name."
  type        = string
}

variable "releases" {
  description = "Retained releases by id; inference_endpoint checks the records."
  type = map(object({
    accuracy        = number
    algorithm       = string
    classes         = list(string)
    image_shape     = string
    inference_image = string
    model_data_url  = string
    threshold       = number
  }))
  nullable = false
}

variable "routing_table" {
  description = "Where the driver of each vehicle loads, and how far their orders go. It must hold every class of the current release."
  type = map(object({
    loading_bay     = string
    order_radius_km = number
  }))
  default = {
    bicycle    = { loading_bay = "A", order_radius_km = 3 }
    motorcycle = { loading_bay = "B", order_radius_km = 15 }
  }
  nullable = false
}
