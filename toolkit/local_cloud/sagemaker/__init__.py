"""A SageMaker that runs: training and transform jobs as processes, endpoints as model servers, capture to S3."""
