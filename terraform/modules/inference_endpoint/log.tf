# SageMaker would make it itself, without retention and without our key. It is named after the endpoint, and goes with it
# when the endpoint's kind changes.
resource "aws_cloudwatch_log_group" "endpoint" {
  name              = "/aws/sagemaker/Endpoints/${local.endpoint_name}"
  kms_key_id        = var.kms_key_arn
  retention_in_days = var.log_retention_days
}
