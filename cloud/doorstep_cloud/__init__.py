"""The service: keeps sealed clips and cannot open them."""
