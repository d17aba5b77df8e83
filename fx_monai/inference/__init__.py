"""From images to results: one typed :class:`~fx_monai.inference.result.Prediction`, and the files it is written to.

``result`` says what comes out, ``source`` reads images, ``predictor`` runs the network, ``interpret`` turns tensors
into results.
"""
