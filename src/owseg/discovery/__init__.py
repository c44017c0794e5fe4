"""Discovery: the unknown regions of many images, grouped into a queue, and a reviewer's decisions about them."""
