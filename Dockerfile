# The daemon's image: the locked packages and this one in an environment of their own, run by nobody in particular.
# It needs no writable file system and no capability: docker run --read-only --cap-drop ALL poller
#
# Any image with Python 3.11 or newer as python3, and its venv, will do; both stages must have the same one, since an
# environment names its interpreter by its path. One version, so that two builds are alike; by its digest is better still:
# --build-arg PYTHON_IMAGE=python@sha256:...
ARG PYTHON_IMAGE=python:3.13.9-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
WORKDIR /src
COPY requirements/ requirements/
# The first environment builds and stays behind. The second is what is shipped: no pip, nothing to build with.
RUN python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/poller \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt \
 && /opt/build/bin/pip --python /opt/poller/bin/python install --require-hashes --only-binary :all: -r requirements/run.txt
COPY . .
ARG REVISION=unknown
RUN REVISION="${REVISION}" /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/poller/bin/python install --no-index --no-deps /wheels/*.whl

# What never changes comes first, so that a new revision is two new layers.
FROM ${PYTHON_IMAGE}
# Of the base goes what installs something, what is only there for that, and every right to become somebody else. The list
# of Debian's packages stays, by which scanners tell what is in here.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/pip* \
           /usr/bin/pip* /usr/lib/python3*/ensurepip /usr/lib/python3/dist-packages/pip* /usr/share/python-wheels \
           /usr/bin/apt* /usr/bin/dpkg* /usr/bin/perl* /usr/bin/curl /usr/bin/wget \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
# pip has compiled every module, and there is nowhere to write to. ~/.aws may be mounted below HOME. A container's
# loopback interface is its own: metrics and health must be reached from elsewhere.
ENV PATH=/opt/poller/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/poller \
    POLLER_HTTP_HOST=0.0.0.0
EXPOSE 9464
# Liveness, not readiness: while a queue is down, a daemon that waits for it is as it should be, and to restart it would
# help nobody. Readiness is for those who look: /readyz, `poller healthcheck`. Seldom, since every probe starts a Python.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["poller", "healthcheck", "--live"]
# Exec form: the daemon is the first process, and the signal reaches it.
STOPSIGNAL SIGTERM
ENTRYPOINT ["poller"]
CMD ["run"]
# A number, which an orchestrator can see not to be root. Any other user will do as well.
USER 10001:10001
COPY --from=builder /opt/poller /opt/poller
ARG VERSION=unknown REVISION=unknown PYTHON_IMAGE
LABEL org.opencontainers.image.title="poller" \
      org.opencontainers.image.description="A self-hosted DynamoDB Streams poller: KCL-style leases and checkpoints, filters, delivery to SQS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
