"""The MONAI bundle: what its configurations name, its metadata and model card, and how it is packed."""

from fx_monai.apps.bundle.command_line import print_user_errors_plainly

# the first object that a configuration names imports this package, before anything can fail
print_user_errors_plainly()
