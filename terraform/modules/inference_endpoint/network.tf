# What a model container in a network of ours needs besides.
# https://docs.aws.amazon.com/sagemaker/latest/dg/host-vpc.html

resource "aws_iam_role_policy" "network" {
  count = var.network == null ? 0 : 1

  name   = "network"
  role   = aws_iam_role.model.id
  policy = data.aws_iam_policy_document.network[0].json
}

data "aws_iam_policy_document" "network" {
  count = var.network == null ? 0 : 1

  # SageMaker places an interface of each instance into our subnets. It has no name before it is there, and a subnet may
  # be shared by another account.
  statement {
    sid     = "CreateInterfaces"
    actions = ["ec2:CreateNetworkInterface"]
    resources = concat(
      ["arn:${local.partition}:ec2:${local.region}:${local.account_id}:network-interface/*"],
      local.subnet_arns,
      [for id in var.network.security_group_ids : "arn:${local.partition}:ec2:${local.region}:*:security-group/${id}"],
    )
  }

  # It lends the interface to its own instance, and takes it away afterwards; in our subnets alone.
  statement {
    sid = "LendAndDeleteInterfaces"
    actions = [
      "ec2:CreateNetworkInterfacePermission",
      "ec2:DeleteNetworkInterface",
      "ec2:DeleteNetworkInterfacePermission",
    ]
    resources = ["arn:${local.partition}:ec2:${local.region}:${local.account_id}:network-interface/*"]

    condition {
      test     = "ArnLike"
      variable = "ec2:Subnet"
      values   = local.subnet_arns
    }
  }

  # It looks the network up first. EC2's Describe actions know no resources.
  statement {
    sid = "LookUpNetwork"
    actions = [
      "ec2:DescribeDhcpOptions",
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeSecurityGroups",
      "ec2:DescribeSubnets",
      "ec2:DescribeVpcs",
    ]
    resources = ["*"]
  }
}

locals {
  subnet_arns = var.network == null ? [] : [
    for id in var.network.subnet_ids : "arn:${local.partition}:ec2:${local.region}:*:subnet/${id}"
  ]
}
