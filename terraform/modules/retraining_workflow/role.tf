# https://docs.aws.amazon.com/step-functions/latest/dg/connect-sagemaker.html#sagemaker-iam
data "aws_iam_policy_document" "retrain" {
  # What is staged; the images themselves are read by the jobs, under their own role.
  statement {
    sid       = "ReadDataset"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket_arn}/dataset.json"]
  }

  # Without it S3 answers 403 where nothing is staged, as if a right were missing.
  statement {
    sid       = "TellMissingDataset"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]
  }

  # The bucket is encrypted with it; through S3 alone.
  statement {
    sid       = "DecryptDataset"
    actions   = ["kms:Decrypt"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.amazonaws.com"]
    }
  }

  # Jobs of this environment: `.sync` looks whether they are done, tags them as its own, and stops them when the execution
  # is stopped.
  statement {
    sid = "RunJobs"
    actions = [
      "sagemaker:AddTags",
      "sagemaker:CreateTrainingJob",
      "sagemaker:CreateTransformJob",
      "sagemaker:DescribeTrainingJob",
      "sagemaker:DescribeTransformJob",
      "sagemaker:ListTags",
      "sagemaker:StopTrainingJob",
      "sagemaker:StopTransformJob",
    ]
    resources = concat(
      ["arn:${local.partition}:sagemaker:${local.region}:${local.account_id}:training-job/${var.name}-*"],
      [for key in keys(local.compared) : "arn:${local.partition}:sagemaker:${local.region}:${local.account_id}:transform-job/${var.name}-*-${key}"],
    )
  }

  # The two models that the evaluation asks; their endings tell them from those that serve.
  statement {
    sid       = "MakeAndDeleteEvaluatedModels"
    actions   = ["sagemaker:AddTags", "sagemaker:CreateModel", "sagemaker:DeleteModel"]
    resources = [for key in keys(local.compared) : "arn:${local.partition}:sagemaker:${local.region}:${local.account_id}:model/${var.name}-*-${key}"]
  }

  # Jobs and models run under the role of `invoke train`, and SageMaker alone gets it.
  statement {
    sid       = "PassTrainingRole"
    actions   = ["iam:PassRole"]
    resources = [var.training_role_arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["sagemaker.amazonaws.com"]
    }
  }

  # Rules that Step Functions manages in this account, by which it learns that a job has ended.
  statement {
    sid     = "LearnOfEndedJobs"
    actions = ["events:DescribeRule", "events:PutRule", "events:PutTargets"]
    resources = [
      for jobs in ["Training", "Transform"] :
      "arn:${local.partition}:events:${local.region}:${local.account_id}:rule/StepFunctionsGetEventsForSageMaker${jobs}JobsRule"
    ]
  }

  # The one function, through its published version only.
  statement {
    sid       = "InvokeFunction"
    actions   = ["lambda:InvokeFunction"]
    resources = [var.compare_candidate.alias_arn]
  }

  # The announcement.
  statement {
    sid       = "NotifyPeople"
    actions   = ["sns:Publish"]
    resources = [var.topic_arn]
  }

  # The topic is encrypted: whoever publishes needs the key, for SNS and nothing else.
  statement {
    sid       = "UseKeyOfTopic"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["sns.${local.region}.amazonaws.com"]
    }
  }
}
