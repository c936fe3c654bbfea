"""Who asks, and what they may: basic credentials, bearer tokens, scopes. Knows nothing of requests, functions or queues.

scopes, identity  what a credential may do; who was recognised      header    an Authorization field, read
basic, token      the two kinds of credentials, only as digests      tokens    tokens.json
keyring           recognises whoever asks                            slowdown  what a wrong guess costs
"""
