"""Language models: the upstream, and the rehearsal that stands in for it. And agents of other
gateways."""
