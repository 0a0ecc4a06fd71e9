"""What the invoke tasks call: everything that produces, deploys and exercises a release."""
