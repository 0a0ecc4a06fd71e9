"""An AWS that fits on a laptop: MiniStack, moto and a SageMaker that really trains and serves, all on 127.0.0.1."""
