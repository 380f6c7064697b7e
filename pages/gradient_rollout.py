"""placeholder while the page is written"""
