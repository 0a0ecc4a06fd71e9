# The state machine in Amazon States Language, with JSONata. Its input is {} or {"reason", "hyperparameters"}: why it was
# started, and what shall differ from the serving release's hyperparameters, as text.

locals {
  definition = {
    Comment        = "Trains a candidate, compares it with the release that serves, and announces it. Deploys nothing"
    QueryLanguage  = "JSONata"
    StartAt        = "ReadDataset"
    TimeoutSeconds = var.timeouts.training_seconds + var.timeouts.evaluation_seconds + 1800

    States = {
      ReadDataset = {
        Type           = "Task"
        Comment        = "What is staged now: the candidate learns from it"
        Resource       = "arn:${local.partition}:states:::aws-sdk:s3:getObject"
        TimeoutSeconds = 60
        Arguments      = { Bucket = var.bucket, Key = "dataset.json" }
        Assign = {
          dataset         = "{% $parse($states.result.Body) %}"
          failure         = {}
          hyperparameters = "{% $exists($states.input.hyperparameters) ? $states.input.hyperparameters : {} %}"
          job_name        = "{% ${local.job_name} %}"
          reason          = "{% $exists($states.input.reason) ? $states.input.reason : 'unknown' %}"
        }
        Retry = [local.retry_reading]
        Catch = [local.catch["RetrainingFailed"]]
        Next  = "CheckClasses"
      }

      CheckClasses = {
        Type    = "Choice"
        Comment = "Models that tell other classes apart cannot be compared on one test split"
        Choices = [{ Condition = "{% $dataset.classes = ${jsonencode(var.classes)} %}", Next = "DescribeServing" }]
        Default = "DatasetClassesDiffer"
      }

      DatasetClassesDiffer = {
        Type  = "Fail"
        Error = "DatasetClassesDiffer"
        Cause = "{% 'The dataset in s3://${var.bucket} has the classes ' & $join($dataset.classes, ', ') & ', and the release ${var.release.id} that serves knows ' & ${jsonencode(join(", ", var.classes))} & '. Stage a dataset of its classes, or train a release of the new ones with `invoke train`.' %}"
      }

      DescribeServing = {
        Type           = "Task"
        Comment        = "How the release that serves was trained"
        Resource       = "arn:${local.partition}:states:::aws-sdk:sagemaker:describeTrainingJob"
        TimeoutSeconds = 60
        Arguments      = { TrainingJobName = local.serving_job_name }
        Output         = "{% $states.result %}"
        Retry          = [local.retry_reading]
        Catch          = [local.catch["RetrainingFailed"]]
        Next           = "Train"
      }

      Train = {
        Type           = "Task"
        Comment        = "The same once more, on the dataset of today"
        Resource       = "arn:${local.partition}:states:::sagemaker:createTrainingJob.sync"
        TimeoutSeconds = var.timeouts.training_seconds # the job's own limit should come first, and is what the serving release's job had
        Arguments      = "{% ${local.training_request} %}"
        Assign         = { candidate = "{% $states.result %}" }
        Output         = {}
        Retry          = [local.retry_throttled]
        Catch          = [local.catch["RetrainingFailed"]]
        Next           = "Evaluate"
      }

      Evaluate = {
        Type     = "Parallel"
        Comment  = "Lets both classify every test image, under the same conditions"
        Branches = values(local.evaluations)
        Catch    = [local.catch["DeleteModels"]]
        Next     = "Compare"
      }

      Compare = {
        Type           = "Task"
        Comment        = "Measures both, and puts their model cards side by side"
        Resource       = "arn:${local.partition}:states:::lambda:invoke"
        TimeoutSeconds = var.compare_candidate.timeout_seconds + 5 # Lambda's own timeout comes first and says more
        Arguments = {
          FunctionName = var.compare_candidate.alias_arn
          Payload = {
            bucket  = var.bucket
            dataset = "{% $dataset %}"
            serving = merge(var.release, { answers = "{% ${local.answers["serving"]} %}" })
            candidate = {
              answers = "{% ${local.answers["candidate"]} %}"
              job     = "{% $candidate %}"
            }
          }
        }
        Assign = { comparison = "{% $states.result.Payload %}" }
        Output = {}
        Retry  = [local.retry_transient]
        Catch  = [local.catch["DeleteModels"]]
        Next   = "DeleteModels"
      }

      DeleteModels = {
        Type    = "Map"
        Comment = "Nobody asks them again, whatever came of it"
        Items   = [for key in keys(local.compared) : "{% ${local.evaluation_names[key]} %}"]
        ItemProcessor = {
          ProcessorConfig = { Mode = "INLINE" }
          StartAt         = "DeleteModel"
          States = {
            DeleteModel = {
              Type           = "Task"
              Resource       = "arn:${local.partition}:states:::aws-sdk:sagemaker:deleteModel"
              TimeoutSeconds = 60
              Arguments      = { ModelName = "{% $states.input %}" }
              Output         = {}
              Retry          = [local.retry_reading]
              # It was never made, or stays and costs nothing: no reason to keep the comparison from people.
              Catch = [{ ErrorEquals = ["States.ALL"], Next = "ModelStays" }]
              End   = true
            }
            ModelStays = { Type = "Succeed" }
          }
        }
        Next = "IsCompared"
      }

      IsCompared = {
        Type    = "Choice"
        Choices = [{ Condition = "{% $exists($failure.Error) %}", Next = "RetrainingFailed" }]
        Default = "Announce"
      }

      Announce = {
        Type           = "Task"
        Comment        = "Tells people what the candidate is worth; whether it serves is their decision"
        Resource       = "arn:${local.partition}:states:::sns:publish"
        TimeoutSeconds = 30
        Arguments = {
          TopicArn = var.topic_arn
          Subject  = "{% $comparison.subject %}"
          Message  = "{% $string($merge([$comparison.message, { 'reason': $reason, 'execution': $states.context.Execution.Id }])) %}"
          MessageAttributes = {
            kind = { DataType = "String", StringValue = "candidate" }
          }
        }
        Output = "{% $comparison %}"
        # Telling twice does no harm, not telling does: any failure is worth another try.
        Retry = [merge(local.backoff, { ErrorEquals = ["States.TaskFailed", "States.Timeout"] })]
        Catch = [local.catch["RetrainingFailed"]]
        End   = true
      }

      RetrainingFailed = {
        Type    = "Fail"
        Comment = "Ends under the name of the error that was caught"
        Error   = "{% $failure.Error %}"
        Cause   = "{% $failure.Cause %}"
      }
    }
  }

  # Named like those of `invoke train`: by the moment and the dataset.
  job_name = join(" & ", [
    "'${var.name}-'",
    "$fromMillis($toMillis($states.context.Execution.StartTime), '[Y0001][M01][D01]-[H01][m01][s01]')",
    "'-'",
    "$substring($parse($states.result.Body).dataset_sha256, 0, 7)",
  ])

  # The job left the artifact under its own name.
  serving_job_name = split("/", trimprefix(var.release.model_data_url, "s3://${var.bucket}/models/"))[0]

  # What describeTrainingJob says and createTrainingJob takes. AWS defines the built-in algorithm's metrics itself, says so
  # when asked, and accepts none.
  algorithm_fields = concat(
    ["AlgorithmName", "ContainerArguments", "ContainerEntrypoint", "EnableSageMakerMetricsTimeSeries", "TrainingImage"],
    ["TrainingImageConfig", "TrainingInputMode"],
    var.release.algorithm == "image-classification" ? [] : ["MetricDefinitions"],
  )
  request_fields = [
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "EnableNetworkIsolation",
    "Environment",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "RetryStrategy",
    "StoppingCondition",
    "VpcConfig",
  ]

  # A field without a value is left out of an object.
  training_request = join(" ", [
    "(",
    "$job := $states.input;",
    "$merge([",
    "$sift($job, function($value, $field) { $field in ${jsonencode(local.request_fields)} }),",
    "{",
    "'TrainingJobName': $job_name,",
    "'RoleArn': ${jsonencode(var.training_role_arn)},",
    "'AlgorithmSpecification': $sift($job.AlgorithmSpecification, function($value, $field) { $field in ${jsonencode(local.algorithm_fields)} }),",
    "'HyperParameters': ${local.hyperparameters},",
    "'CheckpointConfig': $exists($job.CheckpointConfig) ? $merge([$job.CheckpointConfig, { 'S3Uri': 's3://${var.bucket}/checkpoints/' & $job_name }])",
    "}",
    "])",
    ")",
  ])

  # Script mode has its hyperparameters as JSON, the built-in algorithm as they are: a text comes as the serving job had it.
  # What follows from the dataset is given where it was given before.
  hyperparameters = join(" ", [
    "$merge([",
    "$job.HyperParameters,",
    "$hyperparameters,",
    "$sift({",
    "'dataset_sha256': $substring($job.HyperParameters.dataset_sha256, 0, 1) = '\"' ? '\"' & $dataset.dataset_sha256 & '\"' : $dataset.dataset_sha256,",
    "'num_training_samples': $string($dataset.train_images - $dataset.validation_images)",
    "}, function($value, $name) { $exists($lookup($job.HyperParameters, $name)) })",
    "])",
  ])

  # The models that are compared, each with a name that its model and its job share, and with where its answers go. That of
  # the release is made anew: the one that serves may read no test image and write no answer, and so it stays.
  compared = {
    candidate = "{% $candidate.ModelArtifacts.S3ModelArtifacts %}"
    serving   = var.release.model_data_url
  }
  answers          = { for key in keys(local.compared) : key => "'evaluation/' & $job_name & '/${key}/'" }
  evaluation_names = { for key in keys(local.compared) : key => "$job_name & '-${key}'" }

  # As `invoke train` evaluates. A branch's errors are those of the parallel state, which catches them.
  evaluations = {
    for key, model_data_url in local.compared : key => {
      StartAt = "Create${title(key)}Model"
      States = {
        "Create${title(key)}Model" = {
          Type           = "Task"
          Resource       = "arn:${local.partition}:states:::sagemaker:createModel"
          TimeoutSeconds = 60
          Arguments = merge(
            {
              ModelName              = "{% ${local.evaluation_names[key]} %}"
              ExecutionRoleArn       = var.training_role_arn
              EnableNetworkIsolation = true # SageMaker brings the artifact and the images
              PrimaryContainer = {
                Environment  = local.container_environments[var.release.algorithm]
                Image        = var.release.inference_image
                ModelDataUrl = model_data_url
              }
            },
            local.vpc,
          )
          Output = {}
          Retry  = [local.retry_throttled]
          Next   = "Ask${title(key)}"
        }

        "Ask${title(key)}" = {
          Type           = "Task"
          Resource       = "arn:${local.partition}:states:::sagemaker:createTransformJob.sync"
          TimeoutSeconds = var.timeouts.evaluation_seconds
          Arguments = {
            TransformJobName        = "{% ${local.evaluation_names[key]} %}"
            ModelName               = "{% ${local.evaluation_names[key]} %}"
            BatchStrategy           = "SingleRecord"
            MaxConcurrentTransforms = 2
            TransformInput = {
              ContentType = "image/png"
              DataSource  = { S3DataSource = { S3DataType = "S3Prefix", S3Uri = "s3://${var.bucket}/test/" } }
            }
            TransformOutput = {
              Accept       = "application/json"
              KmsKeyId     = var.kms_key_arn
              S3OutputPath = "{% 's3://${var.bucket}/evaluation/' & $job_name & '/${key}' %}"
            }
            TransformResources = { InstanceCount = 1, InstanceType = var.evaluation_instance_type }
          }
          Output = {}
          Retry  = [local.retry_throttled]
          End    = true
        }
      }
    }
  }

  vpc = {
    for field, network in { VpcConfig = var.network } :
    field => { SecurityGroupIds = network.security_group_ids, Subnets = network.subnet_ids } if network != null
  }

  # Of our program, which the PyTorch container runs out of the artifact.
  container_environments = {
    image-classification = {}
    pytorch = {
      SAGEMAKER_PROGRAM          = "inference.py"
      SAGEMAKER_SUBMIT_DIRECTORY = "/opt/ml/model/code"
    }
  }

  backoff = {
    BackoffRate     = 2
    IntervalSeconds = 1
    JitterStrategy  = "FULL"
    MaxAttempts     = 5
    MaxDelaySeconds = 20
  }

  # Whatever is only read, or gone, can be asked for again.
  retry_reading = merge(local.backoff, { ErrorEquals = ["States.TaskFailed"], MaxAttempts = 3 })

  # Not States.TaskFailed: a job that has failed fails again, and a machine is paid for it.
  retry_throttled = merge(local.backoff, { ErrorEquals = ["SageMaker.AmazonSageMakerException"], MaxAttempts = 3 })

  retry_transient = merge(local.backoff, {
    ErrorEquals = [
      "Lambda.AWSLambdaException",
      "Lambda.ClientExecutionTimeoutException",
      "Lambda.SdkClientException",
      "Lambda.ServiceException",
      "Lambda.TooManyRequestsException",
      "StorageUnavailable",
    ]
  })

  # Keeps what went wrong until the models are gone.
  catch = {
    for next in ["DeleteModels", "RetrainingFailed"] : next => {
      ErrorEquals = ["States.ALL"]
      Assign = {
        failure = {
          Error = "{% $states.errorOutput.Error %}"
          Cause = "{% ${local.words} %}"
        }
      }
      Next = next
    }
  }

  # Lambda wraps the words of an exception in JSON, with the stack; SageMaker those of a job, with all that it knows of it.
  words = join(" ", [
    "(",
    "$cause := $states.errorOutput.Cause;",
    "$exists($cause) ?",
    "($contains($cause, '\"errorMessage\"') ? $parse($cause).errorMessage :",
    "$contains($cause, '\"FailureReason\"') ? $parse($cause).FailureReason : $cause) :",
    "$states.errorOutput.Error & ' without a cause'",
    ")",
  ])
}
