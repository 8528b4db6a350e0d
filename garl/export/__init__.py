"""What leaves garl: pictures, videos, stroke files and vector drawings."""
