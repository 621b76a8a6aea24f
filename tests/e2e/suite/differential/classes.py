"""The differences that are on purpose."""

FALSE_ACCEPT = "FALSE ACCEPT"
UNKNOWN = "UNKNOWN"


def of(result):
    cosign, assay = result.cosign, result.assay
    if cosign.accepted == assay.accepted:
        return ""
    if assay.accepted:
        return "beside" if result.alone and result.alone.accepted else FALSE_ACCEPT
    return UNKNOWN
