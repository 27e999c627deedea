"""Clinical corpora as labelled examples, and how those examples are spread over clients."""
