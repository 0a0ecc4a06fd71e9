# classify-batch: every image under a prefix or on a list, as a Distributed Map with an Express execution for each.
#
# What an image is, is its outcome: accepted, of low confidence, rejected (no image that can be read) or skipped (a folder's
# placeholder). All of these are answers, and the same at every try, so they count as succeeded. Failed is what might
# have gone well: no endpoint, a model that breaks its contract, no time, no permission. So the tolerated percentage tells
# a sick service from bad photos: 10 % blurred photos are Tuesday, 10 % without an endpoint are not worth going on.
#
# Low confidence makes no message here, unlike in classify-vehicle: the results list those images, and people who get
# thousands of mails read none.

locals {
  batch_name     = "${var.name}-classify-batch"
  bucket_arn     = "arn:${local.partition}:s3:::${var.bucket}"
  list_prefix    = "lists/"
  results_prefix = "batch/"

  # {"bucket", "prefix"}, or {"bucket", "list", "format"} where the format is csv (with a header) or json (an array), of
  # items with an s3_key. A reader's kind is fixed when a machine is made: hence a Map for each.
  batch_sources = {
    ClassifyPrefix = {
      label     = "prefix"
      condition = "$exists($states.input.prefix)"
      reader = {
        Resource  = "arn:${local.partition}:states:::s3:listObjectsV2"
        Arguments = { Bucket = "{% $states.input.bucket %}", Prefix = "{% $states.input.prefix %}" }
      }
      # Consoles and sync tools make such objects to show an empty folder.
      item = {
        s3_key       = "{% $states.context.Map.Item.Value.Key %}"
        is_directory = "{% $states.context.Map.Item.Value.Size = 0 and $substring($states.context.Map.Item.Value.Key, -1) = '/' %}"
      }
    }
    ClassifyCsvList = {
      label     = "csv"
      condition = "$exists($states.input.list) and $states.input.format = 'csv'"
      reader = {
        Resource     = "arn:${local.partition}:states:::s3:getObject"
        ReaderConfig = { InputType = "CSV", CSVHeaderLocation = "FIRST_ROW" }
        Arguments    = { Bucket = "{% $states.input.bucket %}", Key = "{% $states.input.list %}" }
      }
      item = local.batch_listed_item
    }
    ClassifyJsonList = {
      label     = "json"
      condition = "$exists($states.input.list) and $states.input.format = 'json'"
      reader = {
        Resource     = "arn:${local.partition}:states:::s3:getObject"
        ReaderConfig = { InputType = "JSON" }
        Arguments    = { Bucket = "{% $states.input.bucket %}", Key = "{% $states.input.list %}" }
      }
      item = local.batch_listed_item
    }
  }

  # A row without a key is no reason to stop: the image of that name is not found.
  batch_listed_item = {
    s3_key       = "{% $exists($states.context.Map.Item.Value.s3_key) ? $string($states.context.Map.Item.Value.s3_key) : '' %}"
    is_directory = false
  }

  batch_definition = {
    Comment        = "Which vehicles are on these images? Lists the outcome of each in ${local.results_prefix}"
    QueryLanguage  = "JSONata"
    StartAt        = "ChooseReader"
    TimeoutSeconds = var.batch.timeout_seconds

    States = merge(
      {
        ChooseReader = {
          Type    = "Choice"
          Choices = [for name, source in local.batch_sources : { Condition = "{% ${source.condition} %}", Next = name }]
          Default = "SourceUnknown"
        }
        SourceUnknown = {
          Type  = "Fail"
          Error = "SourceUnknown"
          Cause = "The input must be {\"bucket\", \"prefix\"}, or {\"bucket\", \"list\", \"format\"} with the format csv or json."
        }
      },
      {
        for name, source in local.batch_sources : name => {
          Type                       = "Map"
          Label                      = source.label
          MaxConcurrency             = var.batch.max_concurrency
          ToleratedFailurePercentage = var.batch.tolerated_failure_percentage
          ItemReader                 = source.reader
          # The index makes two equal rows of a list two items.
          ItemSelector = merge(source.item, {
            index     = "{% $states.context.Map.Item.Index %}"
            s3_bucket = "{% $states.input.bucket %}"
          })
          ItemProcessor = local.batch_item_processor
          ResultWriter = {
            Resource = "arn:${local.partition}:states:::s3:putObject"
            Arguments = {
              Bucket = "{% $states.input.bucket %}"
              Prefix = "{% '${local.results_prefix}' & $states.context.Execution.Name %}"
            }
          }
          End = true
        }
      },
    )
  }

  # An Express execution ends after five minutes by itself: that is the time limit of an image with all its retries.
  batch_item_processor = {
    ProcessorConfig = { Mode = "DISTRIBUTED", ExecutionType = "EXPRESS" }
    StartAt         = "IsDirectory"

    States = {
      IsDirectory = {
        Type    = "Choice"
        Choices = [{ Condition = "{% $states.input.is_directory %}", Next = "SkipDirectory" }]
        Default = "SerializeImage"
      }

      SkipDirectory = {
        Type   = "Pass"
        Output = merge(local.batch_item, { outcome = "skipped", cause = "A folder's placeholder, not an image" })
        End    = true
      }

      SerializeImage = merge(local.steps.SerializeImage, {
        Assign = merge(local.steps.SerializeImage.Assign, { item_index = "{% $states.input.index %}" })
        Catch = [
          {
            ErrorEquals = ["ImageNotFound", "ImageTooLarge", "ImageUnreadable"]
            Output      = merge(local.batch_item, local.batch_error, { outcome = "rejected" })
            Next        = "Judged"
          },
          local.catch_failure,
        ]
      })

      ClassifyImage = merge(local.steps.ClassifyImage, { Catch = [local.catch_failure] })

      FilterConfidence = merge(local.steps.FilterConfidence, {
        Catch = [
          {
            ErrorEquals = ["ThresholdConfidenceNotMet"]
            Output = merge(local.batch_item, local.batch_error, {
              index      = "{% $item_index %}"
              inferences = "{% $states.input.inferences %}"
              outcome    = "low_confidence"
            })
            Next = "Judged"
          },
          local.catch_failure,
        ]
      })

      AssignDriver = merge(local.steps.AssignDriver, {
        Output = "{% $merge([${local.assignment}, {'index': $item_index, 'outcome': 'accepted'}]) %}"
      })

      Judged = { Type = "Succeed" }

      ClassificationFailed = local.steps.ClassificationFailed
    }
  }

  batch_item = {
    index     = "{% $states.input.index %}"
    s3_bucket = "{% $states.input.s3_bucket %}"
    s3_key    = "{% $states.input.s3_key %}"
  }

  # The function's own words: around them Lambda puts a stack, which nobody wants a thousand times.
  batch_error = {
    error = "{% $states.errorOutput.Error %}"
    cause = "{% $parse($states.errorOutput.Cause).errorMessage %}"
  }
}

module "classify_batch" {
  source = "../state_machine"

  definition               = local.batch_definition
  kms_key_arn              = var.kms_key_arn
  log_retention_days       = var.log_retention_days
  name                     = local.batch_name
  permissions_boundary_arn = var.permissions_boundary_arn
  policies                 = { batch = data.aws_iam_policy_document.classify_batch.json }
}

# https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html
data "aws_iam_policy_document" "classify_batch" {
  # The three functions, through their published versions only.
  statement {
    sid       = "InvokeFunctions"
    actions   = ["lambda:InvokeFunction"]
    resources = [for function in var.functions : function.alias_arn]
  }

  # A Distributed Map starts an execution of its own machine for each image. Spelled out: the machine needs this policy.
  statement {
    sid       = "StartItems"
    actions   = ["states:StartExecution"]
    resources = ["arn:${local.partition}:states:${local.region}:${local.account_id}:stateMachine:${local.batch_name}"]
  }

  # It watches them, and stops them when the batch is stopped; the second form is those of a labelled Map.
  statement {
    sid     = "WatchItems"
    actions = ["states:DescribeExecution", "states:StopExecution"]
    resources = [
      "arn:${local.partition}:states:${local.region}:${local.account_id}:execution:${local.batch_name}:*",
      "arn:${local.partition}:states:${local.region}:${local.account_id}:execution:${local.batch_name}/*",
    ]
  }

  # What may be classified, and no look at the rest of the bucket.
  statement {
    sid       = "ListImages"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = [for prefix in var.batch.prefixes : "${prefix}*"]
    }
  }

  # The lists that name images; the images themselves are read by the function alone.
  statement {
    sid       = "ReadLists"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket_arn}/${local.list_prefix}*"]
  }

  # The results, which come in parts where they are large.
  # https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html#resultwriter-iam-policies
  statement {
    sid       = "WriteResults"
    actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
    resources = ["${local.bucket_arn}/${local.results_prefix}*"]
  }

  # Lists and results are encrypted with it; through S3 alone.
  statement {
    sid       = "UseKeyOfBucket"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.amazonaws.com"]
    }
  }
}
