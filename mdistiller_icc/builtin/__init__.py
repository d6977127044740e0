"""The built-in host: the models, methods and configuration of mdistiller, under the same names."""
