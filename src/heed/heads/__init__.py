"""What is added on top of the backbone: vocabulary, label and span heads, and the loss."""
