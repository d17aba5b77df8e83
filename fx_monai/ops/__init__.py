"""Operations on boxes and masks: tensors and arrays in, tensors and arrays out, no files, no state."""
