# One function: a role that may do what `policies` say and write its own log, the log group, the code, the alias "live".

resource "aws_lambda_function" "handler" {
  function_name                  = var.name
  description                    = var.description
  role                           = aws_iam_role.execution.arn
  architectures                  = [var.architecture]
  filename                       = var.package
  handler                        = "handler.handler"
  memory_size                    = var.memory_mb
  publish                        = true
  reserved_concurrent_executions = var.reserved_concurrency
  runtime                        = "python3.13"
  source_code_hash               = filebase64sha256(var.package)
  timeout                        = var.timeout_seconds

  # The variables are settings, not secrets: the key that AWS manages for Lambda encrypts them well enough, and a cold
  # start needs no request to ours.
  environment {
    variables = var.environment
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.handler.name
  }

  tracing_config {
    mode = var.tracing ? "Active" : "PassThrough"
  }

  dynamic "vpc_config" {
    for_each = var.network == null ? [] : [var.network]

    content {
      security_group_ids = vpc_config.value.security_group_ids
      subnet_ids         = vpc_config.value.subnet_ids
    }
  }

  # The first call may come at once; it must find its permissions. Lambda tries those on the network as it makes the
  # function, and needs them until it is gone.
  depends_on = [aws_iam_role_policy.basics, aws_iam_role_policy.extra, aws_iam_role_policy.network]
}

# Callers name the alias, so that every call is answered by a published version.
resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "The version that callers reach"
  function_name    = aws_lambda_function.handler.function_name
  function_version = aws_lambda_function.handler.version
}

resource "aws_cloudwatch_log_group" "handler" {
  name              = "/aws/lambda/${var.name}"
  kms_key_id        = var.kms_key_arn
  retention_in_days = var.log_retention_days
}
