"""Real Sigstore servers and real cosign on loopback; every verdict of Assay held against cosign's.

  run.py            the order of things; start here
  cases.py          who is demanded of which image, what cosign and Assay must answer, and why they may differ
  recipes.py        how each image is signed, or forged
  rule.py           what a case demands of an image: the same words for cosign and for Assay
  configuration.py  rules as a proxy.toml, and as arguments of `assay verify`
  judges.py         asks cosign, the proxy and `assay verify`
  table.py          case x registry x judge; what counts as a failure
  servers.py        Fulcio, CT log, Rekor v1 and v2, timestamp authority; trusted root and signing configurations
  certificates.py   their keys and certificates
  issuer.py         the OpenID Connect issuer: e-mail, GitHub and GitLab identities
  signer.py         cosign sign, cosign attest
  forgery.py        moves and changes the parts of good signatures
  repository.py     puts and gets content, over plain HTTP
  tiny.py           the smallest image that has all an image has
"""
