# owseg serve as an image:
#     docker build -t owseg .                                    on a CPU
#     docker build -t owseg --build-arg TORCH=cu126 .            on an NVIDIA GPU (docker run --gpus all)
#     docker run -p 8000:8000 -e OWSEG_TOKEN=... owseg           the shipped knowledge base street
#     docker run -p 8000:8000 -e OWSEG_TOKEN=... -v "$PWD/mykb:/kb:ro" owseg /kb
FROM python:3.12-slim

# Of the wheels of torch, those of this kind: https://download.pytorch.org/whl/
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=PASSIVE

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN pip install torch==2.13.0 --index-url "https://download.pytorch.org/whl/$TORCH"
RUN pip install --constraint constraints.txt ".[serve]"

RUN useradd --system --uid 10001 owseg
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s --interval=10s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["owseg", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["street"]
