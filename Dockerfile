FROM python:3.13.12-slim-trixie@sha256:f1927c75e81efd1e091dbd64b6c0ecaa5630b38635a3d1c04034ac636e1f94c8 AS build

ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PROJECT_ENVIRONMENT=/clinic \
    UV_PYTHON_DOWNLOADS=never

RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore uv==0.13.9
WORKDIR /build

# Dependencies change less often than the code: this layer stays cached.
COPY pyproject.toml ./
RUN uv sync --no-default-groups --group containers --no-install-project

# `lab` is a command of a checkout; the image has the API only.
COPY README.md LICENSE ./
COPY src/clinic src/clinic
RUN uv sync --no-default-groups --group containers --no-editable && rm /clinic/bin/lab


FROM python:3.13.12-slim-trixie@sha256:f1927c75e81efd1e091dbd64b6c0ecaa5630b38635a3d1c04034ac636e1f94c8

LABEL org.opencontainers.image.title="vet-clinic" \
      org.opencontainers.image.description="The API of a veterinary clinic" \
      org.opencontainers.image.licenses="MIT"

# For the volumes of the credentials and of the notifications: a new volume takes its owner
# from the folder in the image.
RUN groupadd --gid 10001 clinic \
    && useradd --uid 10001 --gid clinic --no-create-home --shell /usr/sbin/nologin clinic \
    && install --directory --owner clinic --group clinic --mode 0750 \
        /run/clinic /run/api /run/monitor /run/web /var/lib/notifications \
    && python -m pip uninstall --yes --quiet --root-user-action ignore pip

COPY --from=build /clinic /clinic

ENV PATH=/clinic/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CLINIC_HOST=0.0.0.0 \
    CLINIC_PORT=8000

USER 10001:10001
EXPOSE 8000

HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=6 \
    CMD ["python", "-S", "-c", "import os, sys; from http.client import HTTPConnection; api = HTTPConnection('127.0.0.1', int(os.environ['CLINIC_PORT']), timeout=3); api.request('GET', '/readyz'); sys.exit(api.getresponse().status != 200)"]

ENTRYPOINT ["python", "-m", "clinic"]
CMD ["serve"]
