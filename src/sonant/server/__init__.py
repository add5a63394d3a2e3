"""Recognisers over the network: HTTP, websockets and Wyoming, a page for the browser, many users on one model.

`sonant serve` starts it. Needs the extra `sonant[serve]`; nothing here imports PyTorch.
"""
