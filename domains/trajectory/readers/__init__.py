"""Files of other data sets and toolkits as scenes."""
