# current_release and releases come from releases.auto.tfvars.json, which `invoke train` writes beside this file.

variable "current_release" {
  description = "Id of the release that serves: a key of releases. Null makes the foundation alone."
  type        = string
  default     = null
}

variable "emails" {
  description = "Addresses that receive every message of the service."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "endpoint" {
  description = "Settings of the endpoint, as in modules/service."
  type = object({
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
  # Nobody waits here for alarms that are never evaluated.
  default  = { deployment = { bake_seconds = 0, termination_wait_seconds = 0 } }
  nullable = false
}

variable "image_limits" {
  description = "What SerializeImage accepts, as in modules/service."
  type = object({
    max_bytes  = optional(number)
    max_pixels = optional(number)
    side       = optional(number)
  })
  default  = {}
  nullable = false
}

variable "lambda_architecture" {
  description = "Processor of this machine, for which the packages are built: arm64 or x86_64."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.lambda_architecture)
    error_message = "lambda_architecture must be arm64 or x86_64."
  }
}

variable "minimum_accuracy" {
  description = "Share of its test images that a release must get right before it may serve. Null takes the service's own."
  type        = number
  default     = null
}

variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  default     = "scones-local"
  nullable    = false
}

variable "region" {
  description = "Region that everything lies in."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must look like us-east-1."
  }
}

variable "releases" {
  description = "Retained releases by id, as `invoke train` records them."
  type = map(object({
    accuracy        = number
    algorithm       = string
    classes         = list(string)
    comparable      = optional(bool)
    dataset_sha256  = string
    image_shape     = string
    inference_image = string
    model_data_url  = string
    model_sha256    = string
    source_revision = string
    test_images     = number
    threshold       = number
    trained_at      = string
  }))
  default  = {}
  nullable = false
}

variable "routing_table" {
  description = "Where the driver of each vehicle loads, and how far their orders go. Null takes the service's own table."
  type = map(object({
    loading_bay     = string
    order_radius_km = number
  }))
  default = null
}
