"""Discovery: unknown regions of many images, put into groups, and what a person decides about them."""
