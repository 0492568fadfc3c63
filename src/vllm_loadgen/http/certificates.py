"""The certificates that HTTPS is checked with: of a served engine, and of the hub."""

import os
import ssl
from pathlib import Path

from vllm_loadgen.errors import EngineError

# Each names a file of PEM certificates, or a folder of them; the first that is set is taken.
# requests and curl know the first two, OpenSSL itself the last.
VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
UNTRUSTED_CURE = (
    "Set SSL_CERT_FILE to a file with the PEM certificates of its authority, and give the host's "
    "name as in its certificate"
)


def trusted() -> ssl.SSLContext:
    """A context with the certificates that the environment names, else with the system's.

    Raises:
        EngineError: if what it names cannot be read, or is not a certificate.
    """
    for variable in VARIABLES:
        if name := os.environ.get(variable):
            try:
                if Path(name).is_dir():
                    return ssl.create_default_context(capath=name)
                return ssl.create_default_context(cafile=name)
            except OSError as error:  # ssl.SSLError, too
                unfit = isinstance(error, ssl.SSLError)
                problem = "not a file of PEM certificates" if unfit else error.strerror
                cure = "Correct the variable, or unset it"
                raise EngineError(f"{variable} = {name!r}: {problem}. {cure}.") from None
    return ssl.create_default_context()


def reason(error: BaseException | None) -> str:
    """An error of the hub's client by its type: some messages repeat headers.

    Of an untrusted certificate, which its libraries wrap in other errors, the cure is given, too.
    """
    name = type(error).__name__
    while error is not None:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return f"{name}, its certificate is not trusted: {UNTRUSTED_CURE}"
        error = error.__cause__ or error.__context__
    return name
