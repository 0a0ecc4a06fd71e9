# The state machine in Amazon States Language, with JSONata. The record that travels is
# {image_data, s3_bucket, s3_key, inferences}; the image goes no further than the state that needs it.

locals {
  definition = {
    Comment        = "Which vehicle is on this image, and where does its driver go?"
    QueryLanguage  = "JSONata"
    StartAt        = "SerializeImage"
    TimeoutSeconds = var.timeout_seconds

    States = {
      SerializeImage = merge(local.steps.SerializeImage, { Catch = [local.catch_failure] })
      ClassifyImage  = merge(local.steps.ClassifyImage, { Catch = [local.catch_failure] })

      FilterConfidence = merge(local.steps.FilterConfidence, {
        Catch = [
          {
            ErrorEquals = ["ThresholdConfidenceNotMet"]
            Assign = {
              cause      = "{% ${local.words_of["$states.errorOutput.Cause"]} %}"
              inferences = "{% $states.input.inferences %}"
            }
            Next = "NotifyLowConfidence"
          },
          local.catch_failure,
        ]
      })

      AssignDriver = merge(local.steps.AssignDriver, { Output = "{% ${local.assignment} %}" })

      NotifyLowConfidence = {
        Type           = "Task"
        Comment        = "Asks a person to look at the image"
        Resource       = "arn:${local.partition}:states:::sns:publish"
        TimeoutSeconds = 30
        Arguments = {
          TopicArn = var.topic_arn
          Subject  = "A vehicle needs a human look"
          Message  = local.low_confidence_message
          MessageAttributes = {
            kind = { DataType = "String", StringValue = "low_confidence" }
          }
        }
        # Telling twice does no harm, not telling does: any failure is worth another try.
        Retry = [merge(local.backoff, { ErrorEquals = ["States.TaskFailed", "States.Timeout"] })]
        # Nobody was told: end under the other name, which the rule on failures reports.
        Catch = [local.catch_failure]
        Next  = "ThresholdConfidenceNotMet"
      }

      ThresholdConfidenceNotMet = {
        Type  = "Fail"
        Error = "ThresholdConfidenceNotMet"
        Cause = "{% $cause %}"
      }

      ClassificationFailed = local.steps.ClassificationFailed
    }
  }

  # What classify-vehicle and classify-batch do with an image alike; each says what becomes of the errors.
  steps = {
    SerializeImage = merge(local.invocations.serialize_image, {
      Comment = "Fetches the image, bounds it and makes it a small PNG"
      Assign = {
        s3_bucket = "{% $states.input.s3_bucket %}"
        s3_key    = "{% $states.input.s3_key %}"
      }
      Output = "{% $states.result.Payload %}"
      Next   = "ClassifyImage"
    })

    ClassifyImage = merge(local.invocations.classify_image, {
      Comment = "Asks the endpoint how likely each class is, and lets the image go"
      Output = {
        s3_bucket  = "{% $s3_bucket %}"
        s3_key     = "{% $s3_key %}"
        inferences = "{% $states.result.Payload.inferences %}"
      }
      Next = "FilterConfidence"
    })

    FilterConfidence = merge(local.invocations.filter_confidence, {
      Comment = "Lets through what reaches the threshold ${var.threshold}"
      Output  = "{% $states.result.Payload %}"
      Next    = "AssignDriver"
    })

    AssignDriver = {
      Type    = "Pass"
      Comment = "Turns the likeliest class into a loading bay and a radius"
      End     = true
    }

    ClassificationFailed = {
      Type    = "Fail"
      Comment = "Ends under the name of the error that was caught"
      Error   = "{% $states.input.Error %}"
      Cause   = "{% $exists($states.input.Cause) ? ${local.words_of["$states.input.Cause"]} : $states.input.Error & ' without a cause' %}"
    }
  }

  # A Lambda function's state: the record goes in, whatever comes out is in $states.result.Payload.
  invocations = {
    for name, function in var.functions : name => {
      Type     = "Task"
      Resource = "arn:${local.partition}:states:::lambda:invoke"
      Arguments = {
        FunctionName = function.alias_arn
        # The functions name the execution in their logs.
        Payload = "{% $merge([$states.input, {'execution': $states.context.Execution.Id}]) %}"
      }
      Retry          = [local.retry_transient]
      TimeoutSeconds = function.timeout_seconds + 5 # Lambda's own timeout comes first and says more
    }
  }

  backoff = {
    BackoffRate     = 2
    IntervalSeconds = 1
    JitterStrategy  = "FULL"
    MaxAttempts     = 5
    MaxDelaySeconds = 20
  }

  # What passes by itself. A broken image stays broken: no other error is tried again.
  retry_transient = merge(local.backoff, {
    ErrorEquals = [
      "EndpointUnavailable",
      "Lambda.AWSLambdaException",
      "Lambda.ClientExecutionTimeoutException",
      "Lambda.SdkClientException",
      "Lambda.ServiceException",
      "Lambda.TooManyRequestsException",
      "StorageUnavailable",
    ]
  })

  catch_failure = { ErrorEquals = ["States.ALL"], Next = "ClassificationFailed" }

  # Lambda wraps the words of an exception in JSON, with the stack; people want the words.
  words_of = {
    for cause in ["$states.input.Cause", "$states.errorOutput.Cause"] :
    cause => "($contains(${cause}, '\"errorMessage\"') ? $parse(${cause}).errorMessage : ${cause})"
  }

  # [{"name": "bicycle", "confidence": 0.91}, …], in the order of the classes.
  ranking = "$map(${jsonencode(var.classes)}, function($class, $index) {{ 'name': $class, 'confidence': $inferences[$index] }})"

  assignment = join(" ", [
    "(",
    "$inferences := $states.input.inferences;",
    "$best := $sort(${local.ranking}, function($left, $right) { $left.confidence < $right.confidence })[0];",
    "{",
    "'s3_bucket': $s3_bucket, 's3_key': $s3_key, 'vehicle': $best.name, 'confidence': $best.confidence,",
    "'assignment': $lookup(${jsonencode(var.routing_table)}, $best.name), 'release': ${jsonencode(var.release)}",
    "}",
    ")",
  ])

  low_confidence_message = "{% ${join(" ", [
    "$string({",
    "'kind': 'low_confidence',",
    "'summary': 'No class reaches the confidence ${var.threshold} for s3://' & $s3_bucket & '/' & $s3_key & ' (' &",
    "$join(${local.ranking}.(name & ' ' & $string($round(confidence, 3))), ', ') & '). Please look at the image.',",
    "'s3_bucket': $s3_bucket, 's3_key': $s3_key, 'inferences': $inferences, 'threshold': ${var.threshold},",
    "'image_url': '${local.console}/s3/object/' & $s3_bucket & '?prefix=' & $encodeUrlComponent($s3_key),",
    "'execution': $states.context.Execution.Id,",
    "'execution_url': '${local.execution_console}' & $states.context.Execution.Id",
    "})",
  ])} %}"
}
