FROM python:3.11-slim

RUN useradd --create-home --uid 1000 parallax \
    && mkdir /data \
    && chown parallax /data
WORKDIR /app

# Builds of PyTorch without CUDA, which are smaller by gigabytes.
COPY requirements.txt constraints.txt .
RUN pip install --no-cache-dir -c constraints.txt \
        --index-url https://download.pytorch.org/whl/cpu \
        "torch>=2.6,<3" "torchvision>=0.21,<1" \
    && pip install --no-cache-dir -c constraints.txt -r requirements.txt

COPY .streamlit .streamlit
COPY core core
COPY dashboard dashboard
COPY data data
COPY pages pages

USER 1000
# What is saved; mount a volume here, or name a data base in PARALLAX_STORE.
ENV PARALLAX_DATA=/data
VOLUME /data
EXPOSE 8501
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/healthz', timeout=4)"]
CMD ["streamlit", "run", "dashboard/Home.py", "--server.address=0.0.0.0", "--server.port=8501"]
