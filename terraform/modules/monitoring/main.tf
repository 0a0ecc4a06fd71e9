# One topic for people, the alarms, one composite alarm that notifies, one dashboard, and a budget where one is set.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.name

  image_functions = { for key, function in var.functions : key => function if function.serves_images }

  confidence_dimensions = { FunctionName = var.functions[var.confidence_function].name }
  endpoint_dimensions   = { EndpointName = var.endpoint.name, VariantName = var.endpoint.variant }
}
