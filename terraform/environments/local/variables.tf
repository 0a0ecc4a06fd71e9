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
}

variable "releases" {
  description = "Retained releases by id, as `invoke train` records them."
  type = map(object({
    accuracy  = number
    algorithm = string
    baseline = optional(object({
      brightness = optional(object({ counts = list(number), edges = list(number) }))
      classes    = map(number)
      edges      = list(number)
      scores     = list(number)
      sharpness  = optional(object({ counts = list(number), edges = list(number) }))
    }))
    classes          = list(string)
    comparable       = optional(bool)
    dataset_sha256   = string
    image_shape      = string
    inference_image  = string
    model_data_url   = string
    model_sha256     = string
    previous_release = optional(string)
    source_revision  = string
    test_images      = number
    threshold        = number
    trained_at       = string
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
