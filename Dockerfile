# The page as a server:  docker build -t medseg . && docker run --rm -p 7860:7860 medseg
# README, "Serve it", lists the environment variables.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False \
    GRADIO_TEMP_DIR=/home/medseg/uploads \
    HF_HOME=/home/medseg/hub

# nothing in the picture readers or the networks needs root, and what they read comes from strangers
RUN useradd --create-home --uid 1000 medseg

WORKDIR /home/medseg/app
# networks run in ONNX Runtime: without torch the image is 5 GB smaller
COPY requirements-cpu.lock ./
RUN pip install --require-hashes --no-deps -r requirements-cpu.lock

COPY --chown=root:root app.py README.md LICENSE ./
COPY --chown=root:root medseg medseg
COPY --chown=root:root assets assets

USER 1000
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=8).close()"]
CMD ["python", "app.py"]
